// How the two are laid over each other, and how far in one looks.
const ZOOM_STEP = 1.5;
const MAX_PIXEL = 40; // of the page, a side of one pixel of the frame

const stageBox = () => part("stage").getBoundingClientRect();
const pixelSize = () => (stageBox().width * state.zoom) / clip().width;

// Everything on the stage, from the state.
function render() {
  const { view } = state, exact = isExact(), isDifference = view === "difference";
  for (const name of ["original", "output"]) {
    part(name).hidden = !isVideo();
    part(`${name}-exact`).hidden = !exact;
  }
  part("over").style.visibility = view === "flicker" && !state.showsOutput ? "hidden" : "visible";
  part("handle").hidden = view !== "wipe";
  part("heat").hidden = part("legend").hidden = !(isDifference && state.exact);
  if (isDifference && state.exact) drawHeat();
  const [left, right] = tags();
  part("left-tag").textContent = left;
  part("right-tag").textContent = right;
  part("legend-text").textContent = `0 to ${+(255 / part("gain").value).toFixed(1)} grey levels`;
  place();
  showValues();
}

function tags() {
  if (state.view === "wipe") return ["original", "reconstruction"];
  if (state.view === "flicker") return state.showsOutput ? ["", "B: reconstruction"] : ["A: original", ""];
  return [isExact() ? "difference" : "difference: loading", ""];
}

// Where the content lies, and where the wipe cuts it.
function place() {
  const { width, height } = stageBox(), { zoom } = state;
  state.left = clamp(state.left, width * (1 - zoom), 0);
  state.top = clamp(state.top, height * (1 - zoom), 0);
  const content = part("content");
  content.style.transform = `translate(${state.left}px, ${state.top}px) scale(${zoom})`;
  content.classList.toggle("pixels", pixelSize() > 1.5);
  const cut = ((state.wipe / 100) * width - state.left) / (zoom * (width || 1));
  part("over").style.clipPath = state.view === "wipe" ? `inset(0 0 0 ${clamp(100 * cut, 0, 100)}%)` : "none";
  part("stage").style.setProperty("--wipe", `${state.wipe}%`);
  part("stage").classList.toggle("zoomed", zoom > 1);
  part("zoom-fit").textContent = zoom > 1 ? `${+zoom.toFixed(1)}×` : "Fit";
  placeMarker();
}

function placeMarker() {
  const marker = part("marker"), size = pixelSize();
  marker.hidden = !state.pixel || (size < 6 && document.activeElement !== part("stage"));
  if (!state.pixel) return;
  const [x, y] = state.pixel;
  Object.assign(marker.style, {
    left: `${state.left + x * size}px`, top: `${state.top + y * size}px`, width: `${size}px`, height: `${size}px`,
  });
}

// Larger or smaller, with the point (x, y) of the stage staying where it is.
function zoomBy(factor, x = stageBox().width / 2, y = stageBox().height / 2) {
  const largest = Math.max(1, (MAX_PIXEL * clip().width) / stageBox().width);
  const zoom = clamp(state.zoom * factor, 1, largest), grown = zoom / state.zoom;
  Object.assign(state, { zoom, left: x - (x - state.left) * grown, top: y - (y - state.top) * grown });
  render();
}

function setWipe(percent) {
  state.wipe = clamp(percent, 0, 100);
  const handle = part("handle");
  handle.setAttribute("aria-valuenow", Math.round(state.wipe));
  handle.setAttribute("aria-valuetext", `${Math.round(state.wipe)}% original`);
  place();
}

function setView(view) {
  const goOn = state.playing;
  if (goOn) setPlaying(false);
  state.view = view;
  for (const button of element.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === view);
  }
  part("flicker-options").hidden = view !== "flicker";
  part("difference-options").hidden = view !== "difference";
  beginFlicker();
  render();
  if (goOn && view !== "difference") setPlaying(true);
}

let flickerTimer = null;

function beginFlicker() {
  const rate = Number(part("rate").value);
  clearInterval(flickerTimer);
  part("rate-value").textContent = rate || "by hand";
  if (state.view !== "flicker" || !rate) return;
  flickerTimer = setInterval(() => (element.isConnected ? swap() : clearInterval(flickerTimer)), 1000 / rate);
}

function swap() {
  state.showsOutput = !state.showsOutput;
  render();
}

// The pixel of the frame at a point of the page.
function pixelAt(event) {
  const box = stageBox(), { width, height } = clip();
  const x = Math.floor(((event.clientX - box.left - state.left) / (box.width * state.zoom)) * width);
  const y = Math.floor(((event.clientY - box.top - state.top) / (box.height * state.zoom)) * height);
  return [clamp(x, 0, width - 1), clamp(y, 0, height - 1)];
}

// The marker moves, and the picture with it where it would leave the stage.
function movePixel(dx, dy) {
  const { width, height } = clip(), box = stageBox(), size = pixelSize();
  const [x, y] = state.pixel ?? [Math.floor(width / 2), Math.floor(height / 2)];
  state.pixel = [clamp(x + dx, 0, width - 1), clamp(y + dy, 0, height - 1)];
  state.left = clamp(state.left, -size * state.pixel[0], box.width - size * (state.pixel[0] + 1));
  state.top = clamp(state.top, -size * state.pixel[1], box.height - size * (state.pixel[1] + 1));
  place();
  showValues();
}
