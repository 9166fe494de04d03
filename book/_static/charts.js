/* Makes each static chart live when it nears the viewport. The library is loaded once, from beside
   this file, so that it also works from file:// and without any other host. */
(function () {
  "use strict";
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  let library = null;

  function load() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = folder + "vega.js";
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    return library;
  }

  /* On a phone a long title of a horizontal axis takes several lines. */
  function wrapTitles(part) {
    if (!part || typeof part !== "object") return;
    const title = part.x?.title;
    if (typeof title === "string") part.x.title = title.match(/.{1,24}(?= |$)/g)?.map((line) => line.trim()) ?? title;
    Object.values(part).forEach(wrapTitles);
  }

  async function enliven(box) {
    await load();
    const spec = JSON.parse(box.querySelector("script").textContent);
    if (box.clientWidth < 480) wrapTitles([spec.encoding && spec, spec.layer, spec.vconcat, spec.hconcat]);
    const place = document.createElement("div");
    place.className = "live";
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", box.dataset.alt);
    const picture = box.querySelector("svg");
    const height = picture.getBoundingClientRect().height;
    place.style.minHeight = height + "px"; // no jump while it is drawn
    picture.replaceWith(place);
    const tooltip = { disableDefaultStyle: true };
    const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip };
    try {
      box.chart = (await window.vegaEmbed(place, spec, options)).view;
      if (box.querySelector(".vega-bind input")) place.setAttribute("role", "group");
      box.dataset.live = "yes";
    } catch (error) {
      place.replaceWith(picture);
      console.error(error);
    }
    place.style.minHeight = "";
  }

  document.addEventListener("DOMContentLoaded", () => {
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        near.unobserve(entry.target);
        enliven(entry.target);
      }
    }, { rootMargin: "400px" });
    for (const box of document.querySelectorAll(".chart")) near.observe(box);
  });
})();
