// The player's script: these files run as one function. `element` holds the template, `props.value` what Python's
// player_value sends, `server` the functions of exact.py. Parts are looked up at every use and events are caught on
// `element`, since a new value may render the template anew.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const clip = () => props.value;
const isVideo = () => Boolean(clip()) && !clip().is_image;
const lastFrame = () => clip().num_frames - 1;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;

const state = {
  view: "wipe", // or "flicker", "difference"
  wipe: 50, // percent of the stage that shows the original
  showsOutput: false, // which of the two the flicker shows
  zoom: 1, left: 0, top: 0, // of the content, in pixels of the page
  pixel: null, // [x, y] under the pointer or the marker
  frame: 0,
  playing: false,
  exact: null, // {frame, values: [original, output]}: RGBA of the frame's lossless pictures
  shown: null, // the address of the clip shown
};

// Whether what is on the stage are the lossless pictures of the current frame.
const isExact = () => Boolean(state.exact) && state.exact.frame === state.frame
  && (!state.playing || state.view === "difference");
