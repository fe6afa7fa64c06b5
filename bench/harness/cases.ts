import { busyMachine } from '../cases/busy-machine.js';
import { decode } from '../cases/decode.js';
import { defence } from '../cases/defence.js';
import { distill } from '../cases/distill.js';
import { finetune } from '../cases/finetune.js';
import { limits } from '../cases/limits.js';
import { llamaParity } from '../cases/llama-parity.js';
import { scaling } from '../cases/scaling.js';
import { smollm2 } from '../cases/smollm2.js';
import { trainStep } from '../cases/train-step.js';
import type { BenchCase } from './types.js';

/** Every benchmark, in the order they run. */
export const CASES: readonly BenchCase[] = [
  limits,
  trainStep,
  decode,
  defence,
  distill,
  smollm2,
  scaling,
  llamaParity,
  finetune,
  busyMachine,
];
