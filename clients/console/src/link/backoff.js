// SPDX-License-Identifier: Apache-2.0
// How long to wait before the next attempt: 1, 2, 4 ... 30 s, each a little shorter by chance, so
// that a thousand pages do not come back to a restarted broker in the same moment.

const FIRST_MS = 1000;
const MOST_MS = 30000;

export function delay(attempt, random = Math.random) {
	const whole = Math.min(FIRST_MS * 2 ** Math.max(attempt - 1, 0), MOST_MS);
	return Math.round(whole * (0.75 + 0.25 * random()));
}
