/** What a worker process runs. */
import { serveStages } from './worker.js';

serveStages();
