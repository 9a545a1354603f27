// Where the Worker and the worklet are. The self-contained bundle has another one.

const module = (file) => new URL(file, import.meta.url).href;

// startWorker starts the Worker; from another origin, which browsers refuse, it goes
// through a module of the page's own that imports it.
export function startWorker() {
  if (new URL(import.meta.url).origin === self.location.origin) return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const own = URL.createObjectURL(new Blob([`import ${JSON.stringify(module("./worker.js"))};`], { type: "text/javascript" }));
  return new Worker(own, { type: "module" });
}

export const workletURL = () => module("./worklet.js");
