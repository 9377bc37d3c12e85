// What visitors do, and what arrives from the server.
let dragged = null; // "wipe", "picture" or a plot
const nameOf = (target) => target.dataset.part;

element.addEventListener("pointerdown", (event) => {
  const plot = event.target.closest(".curve svg"), stage = event.target.closest('[data-part="stage"]');
  if (event.button || !(plot || stage)) return;
  (plot ?? stage).setPointerCapture(event.pointerId);
  if (plot) {
    dragged = plot;
    goTo(frameAt(plot, event));
    return;
  }
  const onWipe = state.view === "wipe" && (state.zoom === 1 || nameOf(event.target) === "handle");
  dragged = onWipe ? "wipe" : "picture";
  part(onWipe ? "handle" : "stage").focus({ preventScroll: true });
  event.preventDefault();
  drag(event);
});

element.addEventListener("pointermove", (event) => {
  if (dragged) drag(event);
  if (event.target.closest('[data-part="stage"]')) {
    state.pixel = pixelAt(event);
    placeMarker();
    showValues();
  }
});

for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { dragged = null; });

function drag(event) {
  if (dragged === "wipe") {
    const box = stageBox();
    setWipe((100 * (event.clientX - box.left)) / box.width);
  } else if (dragged === "picture") {
    state.left += event.movementX;
    state.top += event.movementY;
    place();
  } else if (event.type === "pointermove") {
    goTo(frameAt(dragged, event));
  }
}

// With Ctrl, as for pages and maps; pinching a touchpad sends the same.
element.addEventListener("wheel", (event) => {
  if (!event.ctrlKey || !event.target.closest('[data-part="stage"]')) return;
  event.preventDefault();
  const box = stageBox();
  zoomBy(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

const KEYS = {
  " ": () => isVideo() && setPlaying(!state.playing),
  ",": () => goTo(state.frame - 1),
  ".": () => goTo(state.frame + 1),
  x: () => {
    if (state.view !== "flicker") {
      part("rate").value = 0;
      setView("flicker");
    }
    swap();
  },
  "+": () => zoomBy(ZOOM_STEP),
  "=": () => zoomBy(ZOOM_STEP),
  "-": () => zoomBy(1 / ZOOM_STEP),
  0: () => zoomBy(0),
};

// What the arrow keys move, by where the focus is: [right, down, to an end].
function arrows(target) {
  if (nameOf(target) === "handle") {
    return [(n) => setWipe(state.wipe + n), (n) => setWipe(state.wipe - n), (end) => setWipe(100 * end)];
  }
  if (nameOf(target) === "stage") return [(n) => movePixel(n, 0), (n) => movePixel(0, n), () => {}];
  const step = (n) => goTo(state.frame + n);
  return target.closest(".curve svg") ? [step, (n) => step(-n), (end) => goTo(end * lastFrame())] : null;
}

element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !clip()) return;
  const isButton = event.target.closest("button, summary"), moves = arrows(event.target), step = event.shiftKey ? 10 : 1;
  const actions = { ...KEYS };
  if (isButton) delete actions[" "]; // presses it
  if (moves) {
    const [across, down, toEnd] = moves;
    Object.assign(actions, {
      ArrowLeft: () => across(-step), ArrowRight: () => across(step), ArrowUp: () => down(-step),
      ArrowDown: () => down(step), Home: () => toEnd(0), End: () => toEnd(1),
    });
  }
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button"), picture = event.target.closest("figure img");
  if (picture) goTo(frameOfSlice(picture, event));
  if (!button) return;
  const actions = {
    play: () => setPlaying(!state.playing),
    back: () => goTo(state.frame - 1),
    forward: () => goTo(state.frame + 1),
    swap,
    "zoom-in": () => zoomBy(ZOOM_STEP),
    "zoom-out": () => zoomBy(1 / ZOOM_STEP),
    "zoom-fit": () => zoomBy(0),
  };
  if (button.dataset.view) setView(button.dataset.view);
  else if (button.dataset.frame) goTo(Number(button.dataset.frame));
  else actions[nameOf(button)]?.();
});

element.addEventListener("input", (event) => {
  const { value } = event.target;
  const actions = {
    scrubber: () => goTo(Number(value)),
    rate: beginFlicker,
    gain: () => {
      part("gain-value").textContent = `${value} times`;
      render();
    },
    row: showRow, // the slice follows when the slider is let go
  };
  actions[nameOf(event.target)]?.();
});

element.addEventListener("change", (event) => nameOf(event.target) === "row" && loadSlice());
element.addEventListener("toggle", (event) => nameOf(event.target) === "slice" && clip() && openSlice(), true);
element.addEventListener("focusin", () => clip() && placeMarker());
new ResizeObserver(() => clip() && part("stage").isConnected && place()).observe(element);

function show() {
  part("player").hidden = !clip();
  if (!clip() || state.shown === clip().output.url) return;
  const { original, output, is_image, width, height, job } = clip();
  Object.assign(state, { shown: output.url, exact: null, pixel: null, frame: 0, playing: false, zoom: 1 });
  part("stage").style.aspectRatio = `${width} / ${height}`;
  part("stage").style.maxWidth = `min(100%, calc(70vh * ${width / height}))`;
  part("controls").hidden = is_image;
  part("scrubber").max = lastFrame();
  if (!is_image) videos().forEach((video, index) => { video.src = [original, output][index].url; });
  part("values").textContent = job ? "" : "This clip is too long to keep its exact frames: no pixel values or difference.";
  element.querySelector('[data-view="difference"]').disabled = !job;
  showCurves();
  prepareSlice();
  setWipe(state.wipe);
  setView("wipe");
  seek(0);
  if (isVideo() && !calm) setPlaying(true);
  else loadExact();
}

watch("value", show);
show();
