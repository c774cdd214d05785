// What pages need beyond htmx: times in the viewer's zone, plots over time, confirmation, MLflow's links.
"use strict";
(() => {
  const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const times = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = time.textContent;
      time.textContent = zoned.format(at);
    }
  };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plots = (root) => {
    for (const place of root.querySelectorAll("[data-plot]:not([data-drawn])")) {
      place.dataset.drawn = "yes";
      const given = JSON.parse(place.dataset.plot);
      const strokes = [colour("--reference"), colour("--live"), colour("--good"), colour("--bad"), colour("--quiet")];
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
      const series = given.series.map((name, i) => ({
        label: name, stroke: strokes[i % strokes.length], width: 2, spanGaps: true, dash: i >= strokes.length ? [6, 4] : undefined, points: { show: given.x.length < 60 },
      }));
      const size = () => ({ width: Math.max(place.clientWidth, 240), height: 260 });
      const plot = new uPlot({
        ...size(), scales: { x: { time: given.time, range: given.x.length === 1 ? (_, at) => [at - 43200, at + 43200] : undefined } }, axes: [axis, { ...axis, size: 70 }],
        series: [{ label: given.time ? "time" : given.label }, ...series],
      }, [given.x, ...given.y], place);
      new ResizeObserver(() => { const { width, height } = size(); if (plot.width !== width) plot.setSize({ width, height }); }).observe(place);
    }
  };

  // What scrolls must be reached by keyboard.
  const scrolled = (root) => {
    for (const wide of root.querySelectorAll(".wide")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  };

  const asked = document.getElementById("confirm");
  const confirmed = new WeakSet();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = event.submitter?.dataset.confirm || form.dataset.confirm;
    if (!question || confirmed.has(form)) return;
    event.preventDefault();
    event.stopPropagation();
    asked.querySelector("p").textContent = question;
    asked.returnValue = "";
    asked.onclose = () => { if (asked.returnValue === "yes") { confirmed.add(form); form.requestSubmit(event.submitter); confirmed.delete(form); } };
    asked.showModal();
  }, true);

  document.addEventListener("change", (event) => { if (event.target.matches("select[data-go]")) event.target.form.requestSubmit(); });

  // MLflow's client prints addresses of its own pages; they lead to ours.
  const elsewhere = () => {
    const base = document.documentElement.dataset.base;
    const [path] = location.hash.slice(1).split("?");
    const run = path.match(/^\/experiments\/(\d+)\/runs\/([0-9a-f]{32})/);
    const version = path.match(/^\/models\/([^/]+)\/versions\/(\d+)/);
    const whole = path.match(/^\/(experiments|models)\/([^/]+)$/);
    if (run) location.replace(`${base}/runs/${run[2]}`);
    else if (version) location.replace(`${base}/models/${version[1]}`);
    else if (whole) location.replace(`${base}/${whole[1]}/${whole[2]}`);
  };

  const fresh = (root) => { times(root); plots(root); scrolled(root); };
  document.addEventListener("htmx:afterSettle", (event) => fresh(event.target));
  elsewhere();
  addEventListener("hashchange", elsewhere);
  fresh(document);
})();
