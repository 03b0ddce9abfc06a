"use strict";
const button = document.getElementById("theme"), themes = ["system", "light", "dark"];
let theme = 0;
button.addEventListener("click", () => {
  theme = (theme + 1) % themes.length;
  if (theme) document.documentElement.dataset.theme = themes[theme]; else delete document.documentElement.dataset.theme;
  button.textContent = "theme: " + themes[theme];
});
let at = -1;
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const step = { j: 1, k: -1 }[event.key], sections = [...document.querySelectorAll("section:not([hidden])")];
  if (step && sections.length) {
    at = Math.max(0, Math.min(sections.length - 1, at + step));
    sections[at].scrollIntoView(); sections[at].focus({ preventScroll: true });
  } else if (event.key === "t") button.click();
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => part.open = true));
