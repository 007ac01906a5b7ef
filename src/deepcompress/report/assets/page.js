// Draws the charts when they come into view, and ties the first chart to its table: one choice of models for both.
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const specs = new Map([...document.querySelectorAll("script[data-chart]")].map((node) => [node.dataset.chart, node.textContent]));
const views = new Map();
const rows = [...document.querySelectorAll("#all tbody tr")];
const field = (id) => document.getElementById(id);
let marked = "";

async function draw(element) {
  views.get(element.id)?.finalize();
  const narrow = element.clientWidth < 480;
  const config = structuredClone(configs[dark.matches ? "dark" : "light"]);
  const spec = JSON.parse(specs.get(element.id));
  const names = spec.layer.flatMap((layer) => layer.encoding?.color?.scale?.domain ?? []);
  const letters = Math.max(...names.map((name) => name.length));
  config.legend.columns = Math.max(1, Math.floor((element.clientWidth - (narrow ? 150 : 40)) / (35 + 6 * letters)));
  if (narrow) {
    config.axis.labelLimit = 150;
    config.axis.titleLimit = 190;
    config.legend.layout = { top: { direction: "vertical" } };
  }
  const drawn = await vegaEmbed(element, spec, { config, renderer: "svg", actions: false });
  views.set(element.id, drawn);
  element.style.minHeight = "";
  if (!element.id.startsWith("models-")) return;
  drawn.view.addEventListener("click", (_, item) => item?.datum?.model && mark(item.datum.model, true));
  tell(drawn.view);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "300px" });
const watch = () => document.querySelectorAll(".chart").forEach((element) => seen.observe(element));
const redraw = () => views.forEach((_, id) => draw(field(id)));
dark.addEventListener("change", redraw);
let width = innerWidth;
addEventListener("resize", () => innerWidth !== width && ((width = innerWidth), redraw()));
addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach((element) => views.has(element.id) || draw(element)));

// The table of all models.
function tell(view) {
  const hidden = rows.filter((row) => row.hidden).map((row) => row.dataset.model);
  view.signal("marked", marked).signal("hidden", hidden).run();
}

const tellAll = () => views.forEach(({ view }, id) => id.startsWith("models-") && tell(view));

function mark(model, scroll) {
  marked = marked === model && !scroll ? "" : model;
  for (const row of rows) {
    const own = row.dataset.model === marked;
    row.classList.toggle("marked", own);
    row.querySelector(".pick").setAttribute("aria-pressed", own);
    if (own && scroll) {
      if (row.hidden) document.querySelector(".filters").reset();
      const box = row.closest(".tall");
      box.scrollTop += row.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;
    }
  }
  tellAll();
}

function filter() {
  const words = field("find").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const family = field("family").value;
  const most = { lost: field("lost").valueAsNumber, mib: field("mib").valueAsNumber };
  for (const row of rows) {
    const fits = words.every((word) => row.dataset.words.includes(word))
      && (!family || row.dataset.family === family)
      && !(Number(row.dataset.lost) > most.lost + 1e-9) && !(Number(row.dataset.mib) > most.mib);
    row.hidden = !fits;
  }
  const shown = rows.filter((row) => !row.hidden);
  const smallest = shown.reduce((best, row) => (Number(row.dataset.mib) < Number(best.dataset.mib) ? row : best), shown[0]);
  const models = `${rows.length} model${rows.length === 1 ? "" : "s"}`;
  field("count").textContent = shown.length === rows.length ? models
    : `${shown.length} of ${models}${smallest ? `; smallest file: ${smallest.dataset.model}` : ""}`;
  tellAll();
}

function sort(header, direction) {
  const at = header.cellIndex;
  const key = (row) => row.cells[at].textContent.trim().replace("−", "-").replaceAll(",", "");
  const order = (a, b) => {
    const [x, y] = at ? [parseFloat(key(a)), parseFloat(key(b))] : [key(a), key(b)];
    if (at && (isNaN(x) || isNaN(y))) return isNaN(x) - isNaN(y);
    return (direction === "ascending" ? 1 : -1) * (at ? x - y : x.localeCompare(y));
  };
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  document.querySelector("#all tbody").append(...rows.sort(order));
}

document.querySelector("#all thead").addEventListener("click", ({ target }) => {
  if (!target.dataset.first) return;
  const header = target.parentNode, now = header.getAttribute("aria-sort");
  sort(header, now ? (now === "ascending" ? "descending" : "ascending") : target.dataset.first);
});
document.querySelector("#all tbody").addEventListener("click", ({ target }) => {
  const row = target.closest("tr");
  if (row) mark(row.dataset.model, false);
});
const filters = document.querySelector(".filters");
filters.addEventListener("input", filter);
filters.addEventListener("reset", () => setTimeout(filter));
filters.addEventListener("submit", (event) => event.preventDefault());
document.querySelector(".choice")?.addEventListener("change", ({ target }) => {
  document.querySelectorAll(".cost").forEach((part) => (part.hidden = part.dataset.cost !== target.value));
});

// A link into folded details opens them.
function open() {
  const part = location.hash && field(decodeURIComponent(location.hash.slice(1)));
  for (let at = part; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (part) part.scrollIntoView();
}
addEventListener("hashchange", open);
filter();
watch();
open();
