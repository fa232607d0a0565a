// The review queue's keys: each presses a button or opens a part that says so in `data-key`. While
// somebody types, only Ctrl+Enter (send) and Esc (leave the field) mean anything, and Ctrl+Enter
// sends only what was chosen before: a rejection that waits for its reason, or an edit. Letters can
// be switched off; the browser remembers it.
"use strict";
(() => {
  const OFF = "stillhouse-letters-off";
  const letters = document.getElementById("letters");
  let sending = null;
  let sent = false;

  function stored() {
    try {
      return localStorage.getItem(OFF);
    } catch {
      return null; // Storage is switched off: the choice holds for this page.
    }
  }

  let off = stored() === "yes";

  function press(target) {
    if (target.tagName === "DETAILS") {
      target.open = true;
      target.querySelector("textarea[name=response]").focus();
      return;
    }
    const needed = target.dataset.needs && document.getElementById(target.dataset.needs);
    if (needed && !needed.value.trim()) {
      needed.focus();
      sending = target;
      return;
    }
    target.click();
  }

  function typing(event, field) {
    if (event.key === "Escape") field.blur();
    if (event.key !== "Enter") return;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const own = sending || (field.form && field.form.querySelector("[data-sends]"));
      if (own) own.click();
    } else if (field.tagName === "INPUT") {
      event.preventDefault();
    }
  }

  document.addEventListener("keydown", (event) => {
    // Enter and Esc that belong to a word that is being composed (Japanese, Chinese) are not ours.
    if (event.isComposing || event.keyCode === 229) return;
    const field = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (field) return typing(event, field);
    if (off || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key.length !== 1) return;
    const target = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!target) return;
    event.preventDefault();
    press(target);
  });

  document.addEventListener("focusout", () => {
    sending = null;
  });

  // The page goes with the first decision; a second press in between is none.
  document.addEventListener("submit", (event) => {
    if (sent) return event.preventDefault();
    sent = true;
    setTimeout(() => mark(true));
  });

  window.addEventListener("pageshow", () => {
    sent = false;
    mark(false);
  });

  function mark(disabled) {
    for (const button of document.querySelectorAll("main button:not([hidden])")) {
      button.disabled = disabled;
    }
  }

  const names = ["reviewer", "e-reviewer"].map((id) => document.getElementById(id)).filter(Boolean);
  for (const name of names) {
    name.addEventListener("input", () => {
      for (const other of names) other.value = name.value;
    });
  }

  if (letters) {
    letters.closest("[hidden]").hidden = false;
    letters.checked = !off;
    letters.addEventListener("change", () => {
      off = !letters.checked;
      try {
        localStorage.setItem(OFF, off ? "yes" : "no");
      } catch {
        // As above.
      }
    });
  }
})();
