// One small plot a metric over the frames; a click, or the arrow keys, go to a frame.
const SVG = "http://www.w3.org/2000/svg";

function make(parent, tag, attributes = {}, text = "") {
  const made = parent.appendChild(tag === "svg" || parent.namespaceURI === SVG
    ? document.createElementNS(SVG, tag) : document.createElement(tag));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function showCurves() {
  part("curves").replaceChildren();
  for (const curve of clip().curves) addCurve(curve);
}

function addCurve({ label, unit, better, values, worst }) {
  const box = make(part("curves"), "div", { class: "curve" });
  const head = make(box, "div", { class: "curve-head" });
  make(head, "b", {}, label);
  const arrow = better === "higher" ? "↑" : "↓"; // as in the table of metrics, which says what it means
  make(head, "span", { title: `${better} is better`, "aria-label": `${unit} ${better} is better` }, `${unit} ${arrow}`);
  make(head, "output");
  make(head, "button", { type: "button", "data-frame": worst, "aria-label": `${label}: go to the worst frame, ${worst}` },
    `worst: frame ${worst}`);
  const plot = make(box, "svg", {
    viewBox: `0 0 ${Math.max(1, lastFrame())} 1`, preserveAspectRatio: "none", role: "slider", tabindex: 0,
    "aria-label": `${label} of every frame: choose a frame`, "aria-valuemin": 0, "aria-valuemax": lastFrame(),
  });
  make(plot, "path", { d: line(values) });
  make(plot, "line", { y1: 0, y2: 1 });
}

// The values from the lowest, at the bottom, to the highest; the line passes over frames without one, which are most
// where a metric takes every n-th frame.
function line(values) {
  const known = values.filter((value) => value !== null), low = Math.min(...known), high = Math.max(...known);
  const y = (value) => (high > low ? 0.95 - (0.9 * (value - low)) / (high - low) : 0.5).toFixed(4);
  const points = values.map((value, x) => (value === null ? null : `${x} ${y(value)}`)).filter((point) => point !== null);
  return points.length ? `M${points.join("L")}` : "";
}

function markFrame() {
  const plots = [...part("curves").children];
  plots.forEach((box, index) => {
    const { values, unit } = clip().curves[index], value = values[state.frame];
    const text = value === null ? "none" : `${value}${unit ? ` ${unit}` : ""}`;
    box.querySelector("output").textContent = value ?? "none";
    const plot = box.querySelector("svg"), cursor = plot.querySelector("line");
    cursor.setAttribute("x1", state.frame);
    cursor.setAttribute("x2", state.frame);
    plot.setAttribute("aria-valuenow", state.frame);
    plot.setAttribute("aria-valuetext", `frame ${state.frame}: ${text}`);
  });
}

function frameAt(plot, event) {
  const box = plot.getBoundingClientRect();
  return Math.round(((event.clientX - box.left) / box.width) * lastFrame());
}
