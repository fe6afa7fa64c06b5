/** What a run and the processes that compute for it say to each other. */
import type { PrecisionChoice } from '../engine/compiler.js';
import type { RunConfig } from './config.js';
import type { AnyStage } from './stage.js';

/** To a worker. */
export type Order =
  | {
      readonly type: 'start';
      readonly task: RunConfig['task'];
      readonly run: string;
      readonly threads: number;
      readonly precision: PrecisionChoice;
      /** Most bytes of tensors it keeps between stages. */
      readonly keptBytes: number;
    }
  | { readonly type: 'stage'; readonly stage: AnyStage }
  /** Give the stage up at its next whole step. */
  | { readonly type: 'stop' };

/** From a worker. */
export type WorkerReport =
  | { readonly type: 'ready'; readonly engineVersion: string; readonly engineKind: string }
  | { readonly type: 'progress'; readonly doneFraction: number }
  | { readonly type: 'log'; readonly message: string }
  | { readonly type: 'done'; readonly id: string }
  | { readonly type: 'stopped' }
  | {
      readonly type: 'failed';
      readonly message: string;
      readonly stack: string;
      /** Whether it is a fault of data or configuration, told without a stack. */
      readonly isUserError: boolean;
    };
