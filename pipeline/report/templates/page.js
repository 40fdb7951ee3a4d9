// The page's only script: light or dark, and what the marks of charts say. The page reads well without it.
"use strict";
(function () {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const key = "recommender-report-theme";

  function remembered() {
    try {
      const found = localStorage.getItem(key);
      return themes.includes(found) ? found : "auto";
    } catch (error) {
      return "auto"; // a page from a file may have no storage
    }
  }

  function show(theme) {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = "Theme: " + theme;
  }

  show(remembered());

  document.addEventListener("DOMContentLoaded", function () {
    const button = document.getElementById("theme");
    button.hidden = false;
    show(root.dataset.theme);
    button.addEventListener("click", function () {
      const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
      show(next);
      try {
        localStorage.setItem(key, next);
      } catch (error) {
        // Then it holds for this visit.
      }
    });

    const tip = document.getElementById("tip");
    function point(event) {
      const mark = event.target.closest("[data-tip]");
      tip.hidden = !mark;
      if (!mark) return;
      tip.textContent = mark.dataset.tip;
      const width = root.clientWidth;
      const left = Math.min(Math.max(event.clientX - tip.offsetWidth / 2, 8), width - tip.offsetWidth - 8);
      tip.style.left = left + "px";
      tip.style.top = Math.max(event.clientY - tip.offsetHeight - 14, 8) + "px";
    }
    document.addEventListener("pointerover", point);
    document.addEventListener("pointerdown", point);
    document.addEventListener("scroll", function () {
      tip.hidden = true;
    });
  });
})();
