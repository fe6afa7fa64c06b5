/** `npm run bench`; `main.ts measure NAME OPTIONS` is one measurement, the child of a bench run. */
const [mode, ...rest] = process.argv.slice(2);

if (mode === 'measure') {
  const { runChild } = await import('./harness/child.js');
  await runChild(rest);
} else {
  const { runBench } = await import('./harness/command.js');
  await runBench(process.argv.slice(2));
}
