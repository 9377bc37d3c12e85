// A clip dropped anywhere on the page takes the place of the one that is there, as if it had been dropped into its field.
const field = () => document.querySelector("#clip input[type=file]");
const bringsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

document.addEventListener("dragover", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  document.documentElement.classList.add("dropping");
});
for (const end of ["dragleave", "drop"]) {
  document.addEventListener(end, () => document.documentElement.classList.remove("dropping"));
}
document.addEventListener("drop", async (event) => {
  if (!bringsFiles(event) || (field() && event.target.closest("#clip"))) return;
  event.preventDefault();
  event.stopPropagation();
  const { files } = event.dataTransfer;
  document.querySelector("#clip button[aria-label=Clear]")?.click();
  for (let tries = 0; !field() && tries < 50; tries += 1) await new Promise((go) => setTimeout(go, 40));
  if (!field()) return;
  field().files = files;
  field().dispatchEvent(new Event("change", { bubbles: true }));
}, true);

// A picture of the tabs fills the screen by a click, and goes back by another.
document.addEventListener("click", ({ target }) => {
  if (document.fullscreenElement === target) document.exitFullscreen();
  else if (target.matches?.(".shown img")) target.requestFullscreen?.();
});
