/** Units that an answer may carry or not without being another answer. */

// Longest first within a spelling, so that "percent" is not left as "per".
const WORDS =
  'square|sq|cubic|cu|per|inch(?:es)?|in|foot|feet|ft|yards?|yd|miles?|mi|(?:kilo|centi|milli)?met(?:er|re)s?|km|cm|mm|nm|' +
  'hectares?|acres?|(?:milli)?lit(?:er|re)s?|ml|gallons?|gal|quarts?|pints?|cups?|ounces?|oz|' +
  '(?:kilo|milli)?grams?|kg|gm|mg|pounds?|lbs?|tons?|(?:milli)?seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|yrs?|' +
  'mph|kmph|kmh|degrees?|deg|radians?|rad|dollars?|cents?|euros?|rupees?|rs|usd|eur|units?|points?|people|persons?|students?|' +
  'children|men|women|boys?|girls?|apples?|coins?|pieces?|tickets?|times|ways?|digits?|integers?|numbers?|am|pm|noon';
const LETTERS = 'm|g|s|h|l|t|c|d';

const POWER = String.raw`(?:\s*\^\s*(?:\d|\{\s*\d\s*\}))?`;
const textUnit = new RegExp(
  String.raw`(?<=[\d})\]°%a-zA-Z\s])\s*\\text\s*\{[^{}]*\}${POWER}(?:\s*/\s*\\text\s*\{[^{}]*\}${POWER})?\s*$`,
);
const wordUnit = new RegExp(
  String.raw`(?<=[\d})\s])\s*(?:\b|(?<=\d))(?:${WORDS})\.?${POWER}(?:\s*/\s*(?:${WORDS}|${LETTERS})${POWER})?\s*$`,
  'i',
);
const letterUnit = new RegExp(String.raw`(?<=\d|\d\s)\s*(?:${LETTERS})${POWER}\s*$`);
const plainWords = /^(-?[\d.,/]+)((?:\s+[a-zA-Z]{2,}){1,5})$/;

/**
 * Takes units off the end of a normalised answer: `5\text{ cm}^2`, `10 miles per hour`, `36 dollars`, `12 red apples`. What would
 * leave nothing stays. With `letters` also a lone `m`, `g`, `s` …, which in an algebraic answer is a variable.
 */
export function stripUnits(text: string, options: { letters?: boolean } = {}): string {
  let stripped = text;
  for (let round = 0; round < 4; round++) {
    const before = stripped;
    for (const pattern of options.letters ? [textUnit, wordUnit, letterUnit] : [textUnit, wordUnit]) {
      const shorter = stripped.replace(pattern, '').trim();
      if (/[\d\\]/.test(shorter)) stripped = shorter;
    }
    stripped = stripped.replace(/(\d)\s*°$/, '$1');
    if (stripped === before) break;
  }
  return stripped.replace(plainWords, '$1');
}
