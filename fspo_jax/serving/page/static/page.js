// Keys for the buttons of a question, the time that an answer took, and where the focus goes after a page changed.
"use strict";
(() => {
  let shown = performance.now();
  const keys = () => document.getElementById("keys");

  const began = () => {
    shown = performance.now();
    if (keys() && localStorage.getItem("keys") === "off") keys().checked = false;
  };
  began();

  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !keys()?.checked) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select")) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const button = document.querySelector(`[data-key~="${CSS.escape(name)}"]`);
    if (!button) return;
    event.preventDefault();
    button.click();
  });

  document.addEventListener("change", (event) => {
    if (event.target === keys()) localStorage.setItem("keys", event.target.checked ? "on" : "off");
  });

  // Before htmx reads the form.
  document.addEventListener("submit", (event) => {
    const field = event.target.elements.namedItem("seconds");
    if (field) field.value = ((performance.now() - shown) / 1000).toFixed(2);
  }, true);

  document.addEventListener("htmx:afterSettle", () => {
    began();
    document.querySelector("#main [data-focus], #main [autofocus]")?.focus({preventScroll: true});
  });

  const trouble = () => {
    document.getElementById("said").textContent = "The service does not answer. Try again.";
  };
  document.addEventListener("htmx:sendError", trouble);
  document.addEventListener("htmx:timeout", trouble);
})();
