import assert from 'node:assert/strict';

/** For `assert.throws`: an error of the family whose message matches. */
export function errorLike(pattern: RegExp, family: new (message: string) => Error): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof family, `${error} is a ${family.name}`);
    assert.match(error.message, pattern);
    return true;
  };
}
