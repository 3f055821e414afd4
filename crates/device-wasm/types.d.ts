/* tslint:disable */
/* eslint-disable */

/** A value, as an app has it: a text, a number, several texts, or none. */
export type Value = string | number | readonly string[] | null | undefined;



/**
 * What followed from an event.
 */
export class Effect {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The numbers of the triggers it set off, among those declared.
     */
    readonly fired: Uint32Array;
    /**
     * Whether it counts: not if it came twice, or too late to be kept.
     */
    kept: boolean;
    /**
     * Whether a history changed, so that candidates may be in another order now.
     */
    moved: boolean;
}

/**
 * Ranks candidates for one user.
 */
export class Ranker {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Adds an event to the ends of histories: a text to each feature that lists something of this event. Of more than its length the oldest
     * goes.
     */
    append(event: Readonly<Record<string, string>>): void;
    /**
     * Forgets what the user did.
     */
    forget(now: number): void;
    /**
     * What the user did, as bytes for the page to keep.
     */
    log(): Uint8Array;
    /**
     * Opens an artifact. `keys` are those of who may publish, each 64 hexadecimal digits.
     */
    constructor(artifact: Uint8Array | number[], keys: readonly string[]);
    /**
     * From now on what the user does is kept, moves the histories and sets off triggers. The declaration is JSON: `actions`, `columns` and `numbers`
     * are lists of names, `triggers` what something follows from. `log` is what [`Self::log`] gave before, or empty; `now` the device's clock, in
     * milliseconds since 1970, as `Date.now()` gives it. A declaration that does not fit the ranker's histories closes the ranker.
     */
    observe(declaration: string, log: Uint8Array | number[], now: number): void;
    /**
     * The user did something: the action's name, a text for each declared column, a number for each declared one (`NaN` where there is none), and
     * when, in milliseconds since 1970. `id` is a number by which a second delivery of the same event is known.
     */
    push(action: string, columns: readonly string[], numbers: Float32Array | number[], time: number, now: number, id?: bigint | null): Effect;
    /**
     * Ranks the candidates as things are now.
     */
    rank(): Ranking;
    /**
     * Reads the histories into the recurrent state anew, where the ranker has one: from then on an event costs one step.
     */
    rememberAll(): void;
    /**
     * Goes on with another artifact: what was observed and declared stays, and histories are read anew by what it knows. Candidates are asked for
     * again, and what was set of the user and the moment is set again. Where it is refused, or what was declared does not fit its histories, the
     * one before stays, with all that was set.
     */
    renew(artifact: Uint8Array | number[], keys: readonly string[], now: number): void;
    /**
     * Puts candidates in the place of those before: the names of all features of candidates, and for each candidate its values in this
     * order. `version` is that of the model that found them, by its vectors: with another one than the ranker's they are refused, and the ones
     * before stay.
     */
    setCandidates(features: readonly string[], candidates: readonly (readonly Value[])[], version?: string | null): void;
    /**
     * Says in which scenario the user is: a text for each level, the outermost first.
     */
    setScenarios(values: readonly string[]): void;
    /**
     * Sets a feature of the user or the moment; what was never set is missing.
     */
    set(feature: string, value: Value): void;
    /**
     * The features that each candidate has.
     */
    readonly ofItems: string[];
    /**
     * What is predicted of a candidate: a column of the scores each.
     */
    readonly predictions: string[];
    /**
     * The number of the artifact, which counts up with every one that is published.
     */
    readonly release: number;
    /**
     * The levels of the scenario, the outermost first.
     */
    readonly scenarios: string[];
    /**
     * The features of the user and the moment, which all candidates share.
     */
    readonly shared: string[];
    /**
     * The version of the model.
     */
    readonly version: string;
}

/**
 * What a ranker says of the candidates.
 */
export class Ranking {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The candidates by one of their predictions, the highest first; of equal ones the first.
     */
    order(prediction: number): Uint32Array;
    /**
     * The predictions of a candidate.
     */
    readonly predictions: number;
    /**
     * `candidates × predictions`, candidate by candidate: a probability of each binary task.
     */
    readonly scores: Float32Array;
}

/**
 * Makes the newer artifact of an artifact and a delta, both checked, for the page to keep: what `kitestring compress --delta-from` wrote.
 */
export function applyDelta(artifact: Uint8Array | number[], delta: Uint8Array | number[], keys: readonly string[]): Uint8Array;

