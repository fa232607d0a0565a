// Shows what a teacher says of one token beside its text: the one pointed at or touched, or the one
// that the arrow keys have reached. Everything shown is taken from the table below the text.
"use strict";
(() => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

  function start(root, number) {
    const text = root.querySelector(".tokens.box");
    const panel = root.querySelector(".token-panel");
    const table = root.querySelector("table");
    const tokens = [...text.children];
    const rows = [...table.tBodies[0].rows];
    let row = 0;
    const rowsOf = tokens.map((token) => {
      const first = row;
      row += Number(token.dataset.rows);
      return rows.slice(first, row);
    });
    let at = -1;

    function show(place) {
      if (place === at) return;
      const shown = document.createElement("table");
      shown.append(table.tHead.cloneNode(true), document.createElement("tbody"));
      shown.tBodies[0].append(...rowsOf[place].map((found) => found.cloneNode(true)));
      panel.replaceChildren(shown);
      panel.hidden = false;
      if (at >= 0) tokens[at].setAttribute("aria-selected", "false");
      at = place;
      tokens[at].setAttribute("aria-selected", "true");
      text.setAttribute("aria-activedescendant", tokens[at].id);
    }

    text.setAttribute("role", "listbox");
    text.setAttribute("aria-label", `${root.dataset.tokens}: tokens`);
    text.setAttribute("aria-orientation", "horizontal");
    text.tabIndex = 0;
    panel.setAttribute("role", "region");
    panel.setAttribute("aria-label", `${root.dataset.tokens}: one token`);
    panel.setAttribute("aria-live", "polite");
    panel.tabIndex = 0;
    tokens.forEach((token, place) => {
      token.id = `token-${number}-${place}`;
      token.setAttribute("role", "option");
      token.setAttribute("aria-selected", "false");
      if (!token.textContent.trim()) {
        token.setAttribute("aria-label", rowsOf[place][0].cells[0].textContent);
      }
    });
    const placeOf = (event) => tokens.indexOf(event.target.closest("[data-rows]"));
    for (const kind of ["pointerover", "click"]) {
      text.addEventListener(kind, (event) => {
        const place = placeOf(event);
        if (place >= 0) show(place);
      });
    }
    text.addEventListener("focus", () => show(Math.max(at, 0)));
    text.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const last = tokens.length - 1;
      let place;
      if (event.key in step) place = Math.min(Math.max(at + step[event.key], 0), last);
      else if (event.key === "Home") place = 0;
      else if (event.key === "End") place = last;
      else return;
      event.preventDefault();
      show(place);
      tokens[place].scrollIntoView({ block: "nearest" });
    });
  }

  document.querySelectorAll("[data-tokens]").forEach((root, number) => {
    if (root.querySelector(".tokens.box").children.length) start(root, number);
  });
})();
