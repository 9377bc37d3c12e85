// Two clips in step under one wipe handle. `element` holds the template, `props.value` what Python's WipePlayer sends.
// Parts are looked up at every use and events are caught on `element`, since a new value may render the template anew.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const clip = () => props.value;
const isVideo = () => Boolean(clip()) && !clip().is_image;
const videos = () => [part("original"), part("output")];
const lastFrame = () => clip().num_frames - 1;
let wipe = 50;
let playing = false;
let shown = null;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const timeOf = (frame) => (frame + 0.5) / clip().fps;
const frameNow = () => clamp(Math.floor(part("original").currentTime * clip().fps + 1e-3), 0, lastFrame());

function setWipe(percent) {
  wipe = clamp(percent, 0, 100);
  part("stage").style.setProperty("--wipe", `${wipe}%`);
  const handle = part("handle");
  handle.setAttribute("aria-valuenow", Math.round(wipe));
  handle.setAttribute("aria-valuetext", `${Math.round(wipe)}% original`);
}

function readOut(frame) {
  part("scrubber").value = frame;
  part("scrubber").setAttribute("aria-valuetext", `frame ${frame} of 0 to ${lastFrame()}`);
  part("readout").textContent = `frame ${frame} / ${lastFrame()}`;
}

function seek(frame) {
  const target = clamp(frame, 0, lastFrame());
  videos().forEach((video) => { video.playbackRate = 1; video.currentTime = timeOf(target); });
  readOut(target);
}

function setPlaying(on) {
  playing = on;
  part("play").textContent = on ? "Pause" : "Play";
  part("play").setAttribute("aria-label", on ? "Pause" : "Play");
  if (on) {
    if (part("original").ended || frameNow() >= lastFrame()) seek(0);
    Promise.all(videos().map((video) => video.play())).then(() => requestAnimationFrame(keepInStep), () => setPlaying(false));
  } else {
    videos().forEach((video) => video.pause());
    seek(frameNow()); // both on exactly the same frame
  }
}

// The reconstruction follows the original: small drifts by its speed, large ones by a jump.
function keepInStep() {
  if (!playing || !isVideo() || !element.isConnected) return;
  const [leader, follower] = videos();
  const drift = follower.currentTime - leader.currentTime;
  if (leader.ended) {
    seek(0);
    videos().forEach((video) => video.play().catch(() => {}));
  } else if (Math.abs(drift) > 3 / clip().fps) {
    follower.currentTime = leader.currentTime;
  } else {
    follower.playbackRate = clamp(1 - 4 * drift, 0.8, 1.25);
  }
  readOut(frameNow());
  requestAnimationFrame(keepInStep);
}

function wipeTo(event) {
  const box = part("stage").getBoundingClientRect();
  setWipe((100 * (event.clientX - box.left)) / box.width);
}

element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest('[data-part="stage"]')) return;
  part("stage").setPointerCapture(event.pointerId);
  part("handle").focus({ preventScroll: true });
  event.preventDefault();
  wipeTo(event);
});

element.addEventListener("pointermove", (event) => {
  if (part("stage").hasPointerCapture(event.pointerId)) wipeTo(event);
});

element.addEventListener("keydown", (event) => {
  if (event.target !== part("handle")) return;
  const step = event.shiftKey ? 10 : 1;
  const moves = {
    ArrowLeft: () => setWipe(wipe - step),
    ArrowDown: () => setWipe(wipe - step),
    ArrowRight: () => setWipe(wipe + step),
    ArrowUp: () => setWipe(wipe + step),
    Home: () => setWipe(0),
    End: () => setWipe(100),
    " ": () => isVideo() && setPlaying(!playing),
  };
  if (moves[event.key]) {
    event.preventDefault();
    moves[event.key]();
  }
});

element.addEventListener("click", (event) => {
  if (event.target === part("play")) setPlaying(!playing);
  const step = event.target === part("back") ? -1 : event.target === part("forward") ? 1 : 0;
  if (step) {
    if (playing) setPlaying(false);
    seek(frameNow() + step);
  }
});

element.addEventListener("input", (event) => {
  if (event.target !== part("scrubber")) return;
  const frame = Number(event.target.value);
  if (playing) setPlaying(false);
  seek(frame);
});

function show() {
  part("player").hidden = !clip();
  if (!clip()) return;
  const { original, output, is_image, width, height } = clip();
  part("stage").style.aspectRatio = `${width} / ${height}`;
  part("stage").style.maxWidth = `min(100%, calc(70vh * ${width / height}))`;
  part("controls").hidden = is_image;
  part("scrubber").max = lastFrame();
  for (const [name, file] of [["original", original], ["output", output]]) {
    part(name).hidden = is_image;
    part(`${name}-photo`).hidden = !is_image;
    if (is_image) part(`${name}-photo`).src = file.url;
    else part(name).src = file.url;
  }
  setWipe(wipe);
  if (is_image || shown === output.url) return;
  shown = output.url;
  playing = false;
  readOut(0);
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) setPlaying(true);
}

watch("value", show);
show();
