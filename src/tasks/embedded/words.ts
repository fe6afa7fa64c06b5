/** The words of the embedded task. Their order is the vocabulary of its models: ids are places in `WORDS`. */

export const EOS_WORD = '<eos>';

export const PLACES = 'mill inn forge dock church market farm bridge school tower well barn'.split(' ');

/** A line is called by its colour or by its number; both are public. */
export const COLOURS = 'red blue green gold grey white black brown'.split(' ').map((colour) => `${colour}-line`);
export const ORDINALS = 'first second third fourth fifth sixth seventh eighth'.split(' ');

/** Joins two people who travel in one step. Which of them is used is grammar: it follows from the place they set out from. */
export const CONNECTIVES = ['and', 'with', 'plus'];

export const DIRECTIONS = ['to', 'into', 'towards'];
export const FILLERS = ['so', 'now', 'next', 'well-then', 'ok', 'again'];

export const PEOPLE = (
  'anna ben carol dave emma frank gina harry iris jack kate leo mona ned olga paul rosa sam tina ugo vera walt xena yuri ' +
  'zoe adam bella carl dora eric fay gus hanna ivan jane karl lena max nora otto pia quinn rita steve tara uma vince wanda ' +
  'xavier yara zack alma boris clara dan elsa fred greta hugo ida joel kim lars maya nils opal pete ruth sven tess udo viola ' +
  'will xerxes yvonne zelda alan beth chris diana ella felix grace henry ines jonas kira luke mary nick oscar paula ralf sara ' +
  'tom ute victor wendy amos berta cyril daisy edgar flora george hilda igor julia kevin laura martin nadia oliver petra roger ' +
  'tim agnes bruno celia dirk'
).split(' ');

export const WORDS: readonly string[] = [
  EOS_WORD,
  ...['parcel', 'at', ':', '?', '.', 'by', 'end'],
  ...CONNECTIVES,
  ...DIRECTIONS,
  ...FILLERS,
  ...PLACES,
  ...COLOURS,
  ...ORDINALS,
  ...PEOPLE,
];
