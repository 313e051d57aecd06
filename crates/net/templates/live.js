// Replaces the page's main part when the director says that something has changed.
(() => {
  "use strict";
  const lost = document.getElementById("lost");
  let busy = false, again = false, failing = false, silent = 0;
  const selecting = () => {
    const selection = getSelection();
    return selection && !selection.isCollapsed;
  };
  async function refresh() {
    if (document.hidden || selecting()) return void (again = true);
    if (busy) return void (again = true);
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (answer.ok) show(await answer.text());
      lost.hidden = true;
    } catch {
      if (failing) lost.hidden = false;
    }
    busy = false;
    if (again) setTimeout(refresh, 500);
  }
  function show(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const next = page.querySelector("main"), main = document.querySelector("main");
    for (const open of main.querySelectorAll("details[open][id]")) next.querySelector("#" + open.id)?.setAttribute("open", "");
    const focus = document.activeElement, href = main.contains(focus) && focus.getAttribute("href");
    document.title = page.title;
    main.replaceWith(next);
    if (href) next.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  }
  const stream = new EventSource("/live");
  stream.onmessage = () => {
    clearTimeout(silent);
    failing = false;
    lost.hidden = true;
    // The director says something every ten seconds.
    silent = setTimeout(() => { lost.hidden = false; }, 25000);
    refresh();
  };
  stream.onerror = () => {
    // It comes again with each try.
    if (!failing) {
      clearTimeout(silent);
      silent = setTimeout(() => { lost.hidden = false; }, 4000);
    }
    failing = true;
    // A browser gives up after a refusal; then the page is fetched by the clock.
    if (stream.readyState === EventSource.CLOSED) setInterval(refresh, 10000);
  };
  document.addEventListener("visibilitychange", () => { if (again) refresh(); });
  document.addEventListener("selectionchange", () => { if (again && !selecting() && !busy) refresh(); });
})();
