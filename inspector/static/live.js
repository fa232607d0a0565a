// Keeps the part of a page that is marked `data-live` fresh: asks for the same page again and puts
// what has changed in place of ours. Nothing is asked while the page cannot be seen, and nothing is
// sent where nothing was counted anew. Where nobody answers, a line above says so.
"use strict";
(() => {
  const seconds = 2;
  let version = null;
  let latest = new Date();

  const state = document.createElement("p");
  state.setAttribute("role", "status");
  state.className = "state";
  document.querySelector("[data-live]")?.before(state);

  // How an element is found again in the part that took its place.
  function selector(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    const name = ["aria-label", "href"].find((one) => element.hasAttribute(one));
    if (!name) return null;
    return `${element.tagName}[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  }

  function find(root, wanted) {
    return wanted && (root.matches(wanted) ? root : root.querySelector(wanted));
  }

  // Who reads a table stays in it, and where they had scrolled it to.
  function swap(old, next) {
    const focused = old.contains(document.activeElement) ? selector(document.activeElement) : null;
    const tables = [old, ...old.querySelectorAll(".scroll")].filter((one) => one.scrollLeft);
    const places = tables.map((one) => [selector(one), one.scrollLeft]);
    old.replaceWith(next);
    for (const [wanted, left] of places) {
      const table = find(next, wanted);
      if (table) table.scrollLeft = left;
    }
    find(next, focused)?.focus({ preventScroll: true });
  }

  // Elements that say the same stay as they are: less to lay out, and a table keeps its place.
  function renew(old, fresh) {
    const pairs = old.childElementCount === fresh.childElementCount && !hasWords(fresh);
    if (!pairs) return swap(old, document.adoptNode(fresh));
    if (old.getAttribute("data-live") !== fresh.getAttribute("data-live")) {
      old.setAttribute("data-live", fresh.getAttribute("data-live"));
    }
    [...old.children].forEach((child, place) => {
      const other = fresh.children[place];
      if (child.isEqualNode(other)) return;
      if (child.tagName === "DL" && other.tagName === "DL") return renew(child, other);
      swap(child, document.importNode(other, true));
    });
  }

  function hasWords(element) {
    return [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  }

  // What to say where there is no new page; nothing where there is.
  async function refresh() {
    const old = document.querySelector("[data-live]");
    if (!old || old.dataset.live !== "on" || document.hidden) return "";
    const headers = { "X-Requested-With": "live" };
    if (version) headers["If-None-Match"] = version;
    const answer = await fetch(location.href, { headers });
    if (answer.status === 401) return "You are signed out. Load the page again to sign in.";
    if (answer.status !== 304 && !answer.ok) {
      return `The inspector could not make this page anew (${answer.status}).`;
    }
    latest = new Date();
    if (answer.status === 304) return "";
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (!fresh || page.title !== document.title) {
      location.reload();
      return "";
    }
    version = answer.headers.get("ETag");
    renew(old, fresh);
    return "";
  }

  async function again() {
    let fault;
    try {
      fault = await refresh();
    } catch {
      fault = "The inspector does not answer.";
    }
    const said = fault && `${fault} What is shown is from ${latest.toLocaleTimeString()}.`;
    if (state.textContent !== said) state.textContent = said;
    setTimeout(again, (fault ? 5 : 1) * seconds * 1000);
  }

  setTimeout(again, seconds * 1000);
})();
