// Puts the chosen files straight into the bucket, then posts the form with their names instead of their bytes.
// Where the bucket cannot be reached from here, the form is posted as it is without JavaScript: with the files.
const PATIENCE = 20_000; // milliseconds without progress
const form = document.querySelector("form[data-sign]");
const chooser = form.querySelector("input[type=file]");
const button = form.querySelector("button");
const status = form.querySelector("[role=status]");

form.addEventListener("submit", (event) => {
  if (!chooser.files.length) return;
  event.preventDefault();
  if (chooser.files.length > form.dataset.max) {
    tell(form.dataset.many.replace("{max}", form.dataset.max));
    return;
  }
  button.disabled = true;
  send([...chooser.files]);
});

// The browser may show the page again as it left it.
window.addEventListener("pageshow", reset);

function reset() {
  form.querySelectorAll("[data-arrived]").forEach((field) => field.remove());
  button.disabled = chooser.disabled = false;
  status.hidden = true;
}

async function send(files) {
  const all = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  try {
    for (const [index, file] of files.entries()) {
      const link = await sign(file);
      const text = form.dataset.sending
        .replace("{number}", index + 1)
        .replace("{count}", files.length)
        .replace("{name}", () => file.name);
      tell(text, before / all);
      await put(file, link, (bytes) => tell(text, (before + bytes) / all));
      before += file.size;
      add("upload", link.upload);
      add("name", file.name);
    }
    chooser.disabled = true; // its bytes are where they belong
  } catch (error) {
    if (error instanceof Refusal) {
      reset();
      tell(error.message);
      return;
    }
    console.warn("The bucket cannot be reached from this page:", error);
    form.querySelectorAll("[data-arrived]").forEach((field) => field.remove());
  }
  form.submit();
}

class Refusal extends Error {}

async function sign(file) {
  const body = new FormData(form);
  body.delete(chooser.name);
  for (const name of ["name", "type", "size"]) body.set(name, file[name]);
  const answer = await fetch(form.dataset.sign, { method: "POST", body });
  if (answer.ok) return answer.json();
  if (answer.status === 400) throw new Refusal((await answer.json()).error);
  throw new Refusal(form.dataset.failed);
}

function put(file, link, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
    request.open("PUT", link.url);
    request.setRequestHeader("Content-Type", link.type);
    let stall;
    const patience = () => {
      clearTimeout(stall);
      stall = setTimeout(() => request.abort(), PATIENCE);
    };
    request.upload.addEventListener("progress", (event) => {
      patience();
      progress(event.loaded);
    });
    request.addEventListener("abort", () => reject(new Error("no progress")));
    request.addEventListener("loadend", () => clearTimeout(stall));
    request.addEventListener("load", () => (request.status === 200 ? resolve() : reject(request.status)));
    request.addEventListener("error", reject);
    request.send(file);
    patience();
  });
}

function add(name, value) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name, value });
  field.dataset.arrived = "";
  form.append(field);
}

function tell(text, share) {
  status.hidden = false;
  status.firstElementChild.textContent = text;
  status.lastElementChild.hidden = share === undefined;
  status.lastElementChild.value = share ?? 0;
}
