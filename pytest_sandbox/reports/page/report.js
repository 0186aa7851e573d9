"use strict";
// Everything here is a convenience: the filters for verdicts and executors are style sheets, and evidence opens by itself.
(function enhance() {
  const root = document.documentElement;
  root.classList.add("js");
  const find = (selector) => [...document.querySelectorAll(selector)];
  const form = document.querySelector(".filters");
  if (form === null) return;
  const text = document.getElementById("text");
  const found = document.getElementById("found");
  const none = document.getElementById("none");
  const rows = find("tr.g");
  const words = new Map(find("article.g").map((article) => [article.dataset.g, article.textContent.toLowerCase()]));

  function isShown(element) {
    return getComputedStyle(element).display !== "none";
  }

  function update() {
    const wanted = text.value.trim().toLowerCase();
    for (const element of find("[data-g]")) element.hidden = wanted !== "" && !words.get(element.dataset.g).includes(wanted);
    for (const group of find("tbody:has(> tr.g), .fs")) {
      group.hidden = group.querySelector("tr.g:not([hidden]), article.g:not([hidden])") === null;
    }
    const shown = rows.filter((row) => !row.hidden && isShown(row)).length;
    found.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} guarantees`;
    none.hidden = shown !== 0;
  }

  function setAll(open) {
    for (const details of find("details.e")) if (isShown(details)) details.open = open;
  }

  // For browsers that do not open a closed <details> that holds the target of a link.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at !== null; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target !== null && location.hash !== "") target.scrollIntoView();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", update);
  text.addEventListener("input", update);
  document.getElementById("open").addEventListener("click", () => setAll(true));
  document.getElementById("shut").addEventListener("click", () => setAll(false));
  addEventListener("hashchange", reveal);
  update();
  if (location.hash !== "") reveal();
})();
