// The player: what visitors do with it, and what it does when the store changes.
bench.player = (element, server, standsAt) => {
  player = element;
  tellFrame = standsAt;
  for (const [event, react] of Object.entries(REACTIONS)) element.addEventListener(event, react, { passive: event !== "wheel" });
  element.addEventListener("toggle", (event) => event.target.dataset.part === "slice" && clip() && openSlice(), true);
  document.addEventListener("keydown", pressed);
  document.addEventListener("fullscreenchange", () => render());
  new ResizeObserver(() => clip() && player.isConnected && render()).observe(part("stage-frame"));
  new ResizeObserver(() => clip() && player.isConnected && render()).observe(element);
  listen(show);
  show();
};

let showing = null; // what was shown last

function show() {
  const isThere = Boolean(clip());
  part("player").hidden = !isThere;
  part("idle").hidden = isThere;
  if (!isThere) {
    showing = null;
    return;
  }
  const isOther = showing?.subject !== clip().subject, goesOn = !isOther && state.playing, { once } = state;
  const stage = JSON.stringify([clip().subject, sources(), store.a, store.b, store.shown.map((card) => resultOf(card).version)]);
  if (showing?.stage === stage) return;
  layers();
  if (goesOn) setPlaying(false);
  showing = { subject: clip().subject, stage };
  if (isOther) Object.assign(state, { frame: 0, zoom: 1, pixel: null, loop: null, playing: false, exact: new Map() });
  for (const source of state.exact.keys()) if (!sources().includes(source)) state.exact.delete(source);
  prepare(isOther);
  if (isVideo()) seek(state.frame);
  render();
  if (isVideo() && goesOn) setPlaying(true, once);
  else if (isVideo() && isOther && !calm && !clip().is_shipped) setPlaying(true, true);
  else loadExact();
}

// Everything around the stage.
function prepare(isOther) {
  const { is_image: isImage, width, height } = clip();
  part("controls").hidden = isImage;
  part("scrubber").max = lastFrame();
  if (isOther) {
    part("values").textContent = "";
    part("row").value = Math.floor(height / 2);
    setLoop(null);
    part("stage").style.setProperty("--ratio", width / height);
  }
  const view = player.querySelector("[data-view][aria-pressed=true]");
  if (!view) setView(state.view);
  for (const side of ["a", "b"]) {
    const options = sources().map((source) => make("option", { value: source }, labelOf(source)));
    part(side).replaceChildren(...options);
    part(side).value = store[side];
  }
  showCurves();
  prepareSlice();
  setWipe(state.wipe);
}

let dragged = null; // "wipe", "picture" or the plot
const fingers = new Map(); // pointers on the stage, by their id

const DOINGS = {
  play: () => setPlaying(!state.playing),
  back: () => goTo(state.frame - 1),
  forward: () => goTo(state.frame + 1),
  swap: () => swapByHand(),
  exchange: () => choose("a", store.b),
  "zoom-in": () => zoomBy(ZOOM_STEP),
  "zoom-out": () => zoomBy(1 / ZOOM_STEP),
  "zoom-fit": () => zoomBy(0),
  "loop-from": () => setLoop(state.frame, undefined),
  "loop-to": () => setLoop(undefined, state.frame),
  "loop-clear": () => setLoop(null),
  save: () => saveFrame(),
  full: () => setFull(),
  help: () => showKeys(),
  close: () => part("keys").close(),
};

const INPUTS = {
  scrubber: ({ value }) => goTo(Number(value)),
  rate: () => beginFlicker(),
  gain: ({ value }) => {
    part("gain-value").textContent = `${value}×`;
    render();
  },
  signed: () => render(),
  row: () => {
    part("row-value").textContent = part("row").value; // the slice follows when the slider is let go
    aim();
  },
  a: ({ value }) => choose("a", value),
  b: ({ value }) => choose("b", value),
  speed: () => videos().forEach((video) => { video.playbackRate = speed(); }),
};

const REACTIONS = {
  click: ({ target, clientX, clientY }) => {
    const button = target.closest("button"), picture = target.closest(".slices img");
    if (picture) goTo(frameOfSlice(picture, { clientX, clientY }));
    const { view, frame, metric, do: what } = button?.dataset ?? {};
    if (view) setView(view);
    else if (frame) goTo(Number(frame));
    else if (metric) {
      state.metric = metric;
      showCurves();
      player.querySelector(`[data-metric="${metric}"]`).focus();
    } else DOINGS[what]?.();
  },
  input: ({ target }) => INPUTS[target.dataset.part]?.(target),
  change: ({ target }) => target.dataset.part === "row" && loadSlice(),
  focusin: () => clip() && placeMarker(),
  pointerdown: (event) => {
    const area = event.target.closest('[data-part="plot"]'), stage = event.target.closest('[data-part="stage"]');
    if (event.button || !(area ?? stage)) return;
    (area ?? stage).setPointerCapture(event.pointerId);
    dragged = area;
    if (area) {
      goTo(frameAt(area, event));
      return;
    }
    fingers.set(event.pointerId, event);
    const isHandle = event.target.dataset.part === "handle";
    dragged = state.view === "wipe" && (state.zoom === 1 || isHandle) ? "wipe" : "picture";
    part(dragged === "wipe" ? "handle" : "stage").focus({ preventScroll: true });
    drag(event);
  },
  pointermove: (event) => {
    if (fingers.size === 2 && fingers.has(event.pointerId)) pinch(event);
    else if (dragged) drag(event);
    if (clip() && event.target.closest('[data-part="stage"]')) {
      state.pixel = pixelAt(event);
      placeMarker();
      showValues();
    }
  },
  pointerup: (event) => letGo(event),
  pointercancel: (event) => letGo(event),
  // With Ctrl, as for pages and maps, or once the picture has been clicked; pinching a touchpad sends Ctrl too.
  wheel: (event) => {
    const stage = event.target.closest('[data-part="stage"]');
    if (!stage || !(event.ctrlKey || stage.contains(document.activeElement))) return;
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, ...inBox(event));
  },
};

function drag(event) {
  if (dragged === "wipe") {
    const box = stageBox();
    setWipe((100 * (event.clientX - box.left)) / box.width);
  } else if (dragged === "picture") {
    state.left += event.movementX;
    state.top += event.movementY;
    aim();
  } else if (event.type === "pointermove") {
    goTo(frameAt(dragged, event));
  }
}

// Two fingers: the distance between them zooms, their middle moves.
function pinch(event) {
  const span = () => {
    const [one, two] = [...fingers.values()].map((finger) => inBox(finger));
    return { apart: Math.hypot(one[0] - two[0], one[1] - two[1]), x: (one[0] + two[0]) / 2, y: (one[1] + two[1]) / 2 };
  };
  const before = span();
  fingers.set(event.pointerId, event);
  const after = span();
  state.left += after.x - before.x;
  state.top += after.y - before.y;
  zoomBy(after.apart / Math.max(1, before.apart), after.x, after.y);
}

function letGo(event) {
  fingers.delete(event.pointerId);
  dragged = null;
}
