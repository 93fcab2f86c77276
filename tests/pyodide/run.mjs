// Runs main() of a Python program in Pyodide under node: node run.mjs PYODIDE WHEELS PROGRAM
// PYODIDE is the directory of the npm package, WHEELS one with wheels, of which lastgood's own comes last, by micropip with its
// dependencies: what its metadata asks for besides is an error, since there is no network.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [directory, wheels, program] = process.argv.slice(2);
globalThis.fetch = async (url) => {
  throw new Error(`there is no network: ${url}`);
};

try {
  const { loadPyodide } = await import(pathToFileURL(path.join(directory, "pyodide.mjs")));
  const pyodide = await loadPyodide({ indexURL: directory });
  pyodide.FS.mkdirTree("/wheels");
  for (const name of fs.readdirSync(wheels))
    pyodide.FS.writeFile(`/wheels/${name}`, fs.readFileSync(path.join(wheels, name)));
  await pyodide.runPythonAsync(`
import glob, importlib, site, sys, zipfile

for wheel in glob.glob("/wheels/micropip-*") + glob.glob("/wheels/packaging-*"):
    zipfile.ZipFile(wheel).extractall(site.getsitepackages()[0])
importlib.invalidate_caches()
import micropip

for wheel in sorted(glob.glob("/wheels/*.whl"), key=lambda wheel: "/lastgood-" in wheel):
    if "/micropip-" not in wheel and "/packaging-" not in wheel:
        await micropip.install("emfs:" + wheel, deps="/lastgood-" in wheel)
`);
  pyodide.FS.writeFile("/program.py", fs.readFileSync(program));
  await pyodide.runPythonAsync("sys.path.append('/'); import program; await program.main()");
} catch (error) {
  console.log(String(error.message ?? error));
  process.exit(1);
}
