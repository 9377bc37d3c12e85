// How the sources are laid over or beside each other, and how far in one looks.
const ZOOM_STEP = 1.5;
const MAX_PIXEL = 40; // of the page, a side of one pixel of the frame

const stageBox = () => part("stage").getBoundingClientRect();
const pixelSize = () => (cells.width * state.zoom) / clip().width;
let cells = { columns: 1, rows: 1, width: 1, height: 1 }; // of the stage; width and height are of one of them

// As many columns as make the pictures largest.
function measureCells() {
  const count = state.view === "side" ? sources().length : 1, { width, height } = clip();
  const isFull = Boolean(document.fullscreenElement);
  const room = part("stage-frame").clientWidth || 1, tall = isFull ? window.innerHeight - 190 : 0.55 * window.innerHeight;
  const sizes = Array.from({ length: count }, (_, index) => {
    const columns = index + 1, rows = Math.ceil(count / columns);
    const wide = Math.min(room / columns, (Math.max(tall, 200) / rows) * (width / height));
    return { columns, rows, width: wide, height: (wide * height) / width };
  });
  cells = sizes.reduce((best, size) => (size.width > best.width + 0.5 ? size : best));
  part("stage").style.width = `${cells.columns * cells.width}px`;
  part("stage").style.height = `${cells.rows * cells.height}px`;
}

// Where a source's box lies on the stage; those of a last row that is not full stand in its middle.
function place(index) {
  const { columns, rows, width, height } = cells, row = Math.floor(index / columns);
  const inRow = rows > 1 && row === rows - 1 ? onStage().length - row * columns : columns;
  return { left: (index - row * columns + (columns - inRow) / 2) * width, top: row * height, width, height };
}

// Everything on the stage, from the state.
function render() {
  if (!clip()) return;
  const { view } = state, isDifference = view === "difference";
  measureCells();
  const staged = onStage(), isKnown = isDifference && staged.every(exactOf);
  for (const source of sources()) renderLayer(layer(source), source, staged);
  part("handle").hidden = view !== "wipe";
  part("difference-words").textContent = isDifference ? differenceWords() : "";
  part("heat").hidden = part("legend").hidden = !isKnown;
  if (isKnown) drawHeat();
  const most = +(255 / part("gain").value).toFixed(1), isSigned = part("signed").checked;
  part("legend").classList.toggle("signed", isSigned);
  part("legend-text").textContent = isSigned ? `B darker to brighter, ±${+(most / 2).toFixed(1)} grey levels`
    : `0 to ${most} grey levels`;
  aim();
  showValues();
}

function renderLayer(box, source, staged) {
  const { view } = state, index = staged.indexOf(source), isSide = view === "side";
  const isHidden = index < 0 || (view === "flicker" && (source === store.b) !== state.showsB);
  const at = place(isSide ? Math.max(index, 0) : 0);
  Object.assign(box.style, {
    left: `${at.left}px`, top: `${at.top}px`, width: `${at.width}px`, height: `${at.height}px`,
    visibility: isHidden ? "hidden" : "visible", zIndex: source === store.b ? 2 : 1,
  });
  box.querySelector("canvas").hidden = !exactOf(source);
  const tag = box.querySelector(".tag"), side = source === store.a ? "A" : source === store.b ? "B" : "";
  tag.textContent = view === "difference" ? "" : side && !isSide
    ? `${side}: ${labelOf(source)}` : labelOf(source);
  tag.classList.toggle("right", view === "wipe" && source === store.b);
}

function differenceWords() {
  const names = `${labelOf(store.b)} − ${labelOf(store.a)}`;
  if (!onStage().every(canBeExact)) return `${names}: needs exact frames, which a shipped result does not have`;
  return onStage().every(exactOf) ? names : `${names}: loading`;
}

// How far in one looks and where, alike in every box; and where the wipe cuts.
function aim() {
  const { width, height } = cells, { zoom } = state;
  state.left = clamp(state.left, width * (1 - zoom), 0);
  state.top = clamp(state.top, height * (1 - zoom), 0);
  const transform = `translate(${state.left}px, ${state.top}px) scale(${zoom})`, isPixelated = pixelSize() > 1.5;
  for (const content of player.querySelectorAll(".content, .heat")) {
    content.style.transform = transform;
    content.classList.toggle("pixels", isPixelated);
  }
  for (const box of part("layers").children) {
    box.style.clipPath = state.view === "wipe" && box.dataset.source === store.b ? `inset(0 0 0 ${state.wipe}%)` : "none";
  }
  part("stage").style.setProperty("--wipe", `${state.wipe}%`);
  part("stage").classList.toggle("zoomed", zoom > 1);
  part("zoom-fit").textContent = zoom > 1 ? `${+zoom.toFixed(1)}×` : "Fit";
  const line = part("row-line"), isOpen = part("slice").open && !part("slice").hidden;
  line.hidden = !isOpen || state.view === "side";
  line.style.top = `${state.top + ((Number(part("row").value) + 0.5) * height * zoom) / clip().height}px`;
  placeMarker();
}

function placeMarker() {
  const marker = part("marker"), size = pixelSize();
  marker.hidden = !state.pixel || (size < 6 && document.activeElement !== part("stage"));
  if (!state.pixel) return;
  const [x, y] = state.pixel, at = place(state.view === "side" ? pointed : 0);
  Object.assign(marker.style, {
    left: `${at.left + state.left + x * size}px`, top: `${at.top + state.top + y * size}px`,
    width: `${size}px`, height: `${size}px`,
  });
}

// Larger or smaller, with the point (x, y) of a box staying where it is.
function zoomBy(factor, x = cells.width / 2, y = cells.height / 2) {
  const largest = Math.max(1, (MAX_PIXEL * clip().width) / cells.width);
  const zoom = clamp(state.zoom * factor, 1, largest), grown = zoom / state.zoom;
  Object.assign(state, { zoom, left: x - (x - state.left) * grown, top: y - (y - state.top) * grown });
  aim();
}

function setWipe(percent) {
  state.wipe = clamp(percent, 0, 100);
  const handle = part("handle");
  handle.setAttribute("aria-valuenow", Math.round(state.wipe));
  handle.setAttribute("aria-valuetext", `${Math.round(state.wipe)}% ${labelOf(store.a)}`);
  aim();
}

function setView(view) {
  const goesOn = state.playing;
  if (goesOn) setPlaying(false);
  state.view = view;
  for (const button of player.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === view);
  }
  part("flicker-options").hidden = view !== "flicker";
  part("difference-options").hidden = view !== "difference";
  beginFlicker();
  if (isVideo()) seek(state.frame);
  render();
  loadExact();
  if (goesOn && view !== "difference") setPlaying(true);
}

let flickerTimer = null;

function beginFlicker() {
  const rate = Number(part("rate").value);
  clearInterval(flickerTimer);
  part("rate-value").textContent = rate || "by hand";
  if (state.view === "flicker" && rate) flickerTimer = setInterval(swap, 1000 / rate);
}

function swap() {
  state.showsB = !state.showsB;
  render();
}

let pointed = 0; // which box of the stage the pointer was last in

// The place of a pointer in the box it is in, in pixels of the page.
function inBox(event) {
  const stage = stageBox(), x = event.clientX - stage.left, y = event.clientY - stage.top;
  const boxes = onStage().map((_, index) => place(index));
  const found = state.view === "side" ? boxes.findIndex((at) => x >= at.left && x < at.left + at.width && y >= at.top
    && y < at.top + at.height) : 0;
  pointed = found < 0 ? pointed : found;
  const at = boxes[state.view === "side" ? pointed : 0];
  return [x - at.left, y - at.top];
}

// The pixel of the frame at a point of the page.
function pixelAt(event) {
  const [x, y] = inBox(event), size = pixelSize(), { width, height } = clip();
  const pixel = [(x - state.left) / size, (y - state.top) / size].map(Math.floor);
  return [clamp(pixel[0], 0, width - 1), clamp(pixel[1], 0, height - 1)];
}

// The marker moves, and the picture with it where it would leave its box.
function movePixel(dx, dy) {
  const { width, height } = clip(), size = pixelSize();
  const [x, y] = state.pixel ?? [Math.floor(width / 2), Math.floor(height / 2)];
  state.pixel = [clamp(x + dx, 0, width - 1), clamp(y + dy, 0, height - 1)];
  state.left = clamp(state.left, -size * state.pixel[0], cells.width - size * (state.pixel[0] + 1));
  state.top = clamp(state.top, -size * state.pixel[1], cells.height - size * (state.pixel[1] + 1));
  aim();
  showValues();
}
