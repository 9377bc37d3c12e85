// The curves of one metric, of all results in the player over each other; a click, or the arrow keys, go to a frame.
const SVG = "http://www.w3.org/2000/svg";

function makeSvg(parent, tag, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const metricOf = (card, name = state.metric) => resultOf(card)?.metrics.find((metric) => metric.name === name);

// The names of the metrics that any result in the player has.
function metricNames() {
  return [...new Set(store.shown.flatMap((card) => resultOf(card).metrics.map((metric) => metric.name)))];
}

function showCurves() {
  const names = metricNames(), box = part("curves");
  box.replaceChildren();
  box.hidden = !isVideo();
  if (box.hidden || !names.length) return;
  if (!names.includes(state.metric)) state.metric = names[0];
  const cards = store.shown.filter((card) => metricOf(card)), { unit, higher } = metricOf(cards[0]);
  box.append(head(names, unit, higher), plot(cards), legend(cards));
  markFrame();
}

function head(names, unit, higher) {
  const choice = make("span", { class: "choice", role: "group", "aria-label": "Metric" });
  for (const name of names) {
    const { label } = store.shown.map((card) => metricOf(card, name)).find(Boolean);
    choice.append(make("button", { type: "button", "data-metric": name, "aria-pressed": name === state.metric }, label));
  }
  const words = `${unit ? `${unit}, ` : ""}${higher ? "higher" : "lower"} is better ${higher ? "↑" : "↓"}`;
  return make("div", { class: "curves-head" }, choice, make("span", { class: "dim" }, words));
}

// From the lowest value of all, at the bottom, to the highest.
function rangeOf(cards) {
  const known = cards.flatMap((card) => metricOf(card).values.filter((value) => value !== null));
  const low = Math.min(...known), high = Math.max(...known), room = 0.06 * (high - low || 1);
  return [low - room, high + room];
}

const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(1) : value.toFixed(3));

function plot(cards) {
  const [low, high] = rangeOf(cards), last = Math.max(1, lastFrame());
  const y = (value) => ((high - value) / (high - low)).toFixed(4);
  const area = document.createElementNS(SVG, "svg"), label = metricOf(cards[0]).label;
  for (const [name, value] of Object.entries({
    viewBox: `0 0 ${last} 1`, preserveAspectRatio: "none", role: "slider", tabindex: 0, "data-part": "plot",
    "aria-label": `${label} of every frame: choose a frame`, "aria-valuemin": 0, "aria-valuemax": lastFrame(),
  })) area.setAttribute(name, value);
  for (const share of [0.25, 0.5, 0.75]) makeSvg(area, "line", { class: "rule", x1: 0, x2: last, y1: share, y2: share });
  for (const card of cards) {
    const points = metricOf(card).values.map((value, x) => (value === null ? null : `${x} ${y(value)}`)).filter(Boolean);
    makeSvg(area, "path", { d: `M${points.join("L")}`, "data-colour": store.shown.indexOf(card) });
  }
  makeSvg(area, "line", { class: "now", y1: 0, y2: 1 });
  const scale = [1, 0.75, 0.5, 0.25, 0].map((share) => make("span", {}, short(low + share * (high - low))));
  const frames = [0, 0.25, 0.5, 0.75, 1].map((share) => make("span", {}, Math.round(share * lastFrame())));
  return make("div", { class: "plot" }, make("div", { class: "y" }, ...scale), area, make("div", { class: "x" }, ...frames));
}

// Each result's value at this frame, its mean, and the way to its worst frame.
function legend(cards) {
  return make("div", { class: "curves-legend" }, ...cards.map((card) => {
    const { mean, worst, worst_frame: frame, label } = metricOf(card);
    return make(
      "span", { "data-colour": store.shown.indexOf(card) },
      make("b", {}, nameOf(card)), make("output", { "data-value": card }),
      make("small", { class: "dim" }, `mean ${mean.toPrecision(4)}`),
      make("button", { type: "button", "data-frame": frame, "aria-label": `${label} of ${nameOf(card)}: go to the worst frame, ${frame}`,
        title: worst.toPrecision(4) }, `worst: frame ${frame}`),
    );
  }));
}

function markFrame() {
  const area = player.querySelector('[data-part="plot"]');
  if (!area) return;
  const now = area.querySelector(".now"), words = [];
  now.setAttribute("x1", state.frame);
  now.setAttribute("x2", state.frame);
  for (const output of player.querySelectorAll("[data-value]")) {
    const value = metricOf(output.dataset.value)?.values[state.frame];
    output.textContent = value ?? "–";
    words.push(`${nameOf(output.dataset.value)} ${value ?? "none"}`);
  }
  area.setAttribute("aria-valuenow", state.frame);
  area.setAttribute("aria-valuetext", `frame ${state.frame}: ${words.join(", ")}`);
}

function frameAt(area, event) {
  const box = area.getBoundingClientRect();
  return clamp(Math.round(((event.clientX - box.left) / box.width) * lastFrame()), 0, lastFrame());
}

// One row of every source over time.
let sliced = null; // what of the slice is shown

function prepareSlice() {
  const canSlice = isVideo() && onStage().some(canBeExact);
  part("slice").hidden = !canSlice;
  part("row").max = clip().height - 1;
  openSlice();
}

function openSlice() {
  part("row-value").textContent = part("row").value;
  aim();
  if (part("slice").open && !part("slice").hidden) loadSlice();
}

async function loadSlice() {
  const index = Number(part("row").value), wanted = `${index} ${sources()}`;
  if (sliced === wanted) return;
  sliced = wanted;
  part("slice-note").textContent = "Reading the frames.";
  const figures = await Promise.all(sources().filter(canBeExact).map(async (source) => {
    const isOriginal = source === ORIGINAL, card = isOriginal ? store.shown[0] : source;
    const reply = await ask("slice", { card, index, is_original: isOriginal });
    const words = isOriginal ? "original: time runs downwards, a click goes to the frame" : labelOf(source);
    return reply && make("figure", {}, make("figcaption", {}, words),
      make("img", { src: reply.picture, alt: `The row of ${labelOf(source)} over time` }));
  }));
  if (sliced !== wanted) return;
  part("slice-note").textContent = "Unsteady lines are flicker.";
  part("slices").replaceChildren(...figures.filter(Boolean));
}

// The slice's pictures have one line a frame.
function frameOfSlice(picture, event) {
  const box = picture.getBoundingClientRect();
  return Math.floor(((event.clientY - box.top) / box.height) * picture.naturalHeight);
}
