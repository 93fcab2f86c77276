// Loads Pyodide, and the wheels that prepare.py has put beside it.
import { loadPyodide } from "./pyodide/pyodide.mjs";

export async function load() {
  const here = new URL(".", import.meta.url).href;
  const [pyodide, wheels] = await Promise.all([
    loadPyodide({ indexURL: `${here}pyodide/` }),
    fetch(`${here}wheels.json`).then((answer) => answer.json()),
  ]);
  const extractDir = pyodide.runPython("import site; site.getsitepackages()[0]");
  for (const wheel of wheels) {
    const answer = await fetch(`${here}wheels/${wheel}`);
    pyodide.unpackArchive(await answer.arrayBuffer(), "wheel", { extractDir });
  }
  return pyodide;
}
