/** Requests as they come, without ever holding up the sequences that already run. */

export interface Source<T> {
  /** What has arrived and was not taken; never waits. */
  take(): T | undefined;
  /** Resolves when `take` gives something or there is nothing more to come; rejects where the input failed. */
  arrival(): Promise<void>;
  /** Nothing more will ever come. */
  readonly isExhausted: boolean;
  /** Tells the producer that no more is wanted. */
  close(): void;
}

/** Asks the input for its next item only when the one before was taken. */
export function createSource<T>(input: Iterable<T> | AsyncIterable<T>): Source<T> {
  return Symbol.asyncIterator in input
    ? asynchronous(input[Symbol.asyncIterator]())
    : synchronous(input[Symbol.iterator]());
}

function synchronous<T>(iterator: Iterator<T>): Source<T> {
  let isExhausted = false;
  return {
    get isExhausted() {
      return isExhausted;
    },
    take() {
      if (isExhausted) return undefined;
      const { done, value } = iterator.next();
      isExhausted = done === true;
      return isExhausted ? undefined : value;
    },
    arrival: () => Promise.resolve(),
    close() {
      if (!isExhausted) iterator.return?.();
      isExhausted = true;
    },
  };
}

function asynchronous<T>(iterator: AsyncIterator<T>): Source<T> {
  let arrived: { readonly value: T } | undefined;
  let failure: { readonly error: unknown } | undefined;
  let pending: Promise<void> | undefined;
  let isExhausted = false;
  const request = (): Promise<void> => {
    if (isExhausted || arrived !== undefined || failure !== undefined) return Promise.resolve();
    pending ??= iterator.next().then(
      ({ done, value }) => {
        pending = undefined;
        isExhausted = done === true;
        if (!isExhausted) arrived = { value };
      },
      (error: unknown) => {
        pending = undefined;
        failure = { error };
      },
    );
    return pending;
  };
  return {
    get isExhausted() {
      return isExhausted && arrived === undefined;
    },
    take() {
      if (failure !== undefined) throw failure.error;
      const item = arrived;
      arrived = undefined;
      void request();
      return item?.value;
    },
    arrival: request,
    close() {
      if (!isExhausted) void iterator.return?.();
      isExhausted = true;
    },
  };
}
