// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';
import { delay } from '../src/link/backoff.js';
import { explain, explainPublish, explainSubscribe, isPassing, reasonOf } from '../src/link/errors.js';

test('waits grow to half a minute and differ by chance', () => {
	const longest = [1, 2, 3, 4, 5, 6, 20].map((attempt) => delay(attempt, () => 1));
	assert.deepEqual(longest, [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
	assert.equal(delay(3, () => 0), 3000);
});

test('a refusal of 3.1.1 means the same as in version 5', () => {
	assert.equal(reasonOf(4, 4), 0x86);
	assert.equal(reasonOf(5, 4), 0x87);
	assert.equal(reasonOf(0x87, 5), 0x87);
});

test('only what can pass is tried again', () => {
	assert.ok(isPassing({ kind: 'unreachable' }));
	assert.ok(isPassing({ kind: 'lost' }));
	assert.ok(isPassing({ kind: 'ended', code: 0x8b }));
	assert.ok(isPassing({ kind: 'refused', code: 0x89 }));
	assert.ok(!isPassing({ kind: 'refused', code: 0x86 }));
	assert.ok(!isPassing({ kind: 'ended', code: 0x8e }));
	assert.ok(!isPassing({ kind: 'mixed' }));
});

test('every refusal is explained with what to do', () => {
	const password = explain({ kind: 'refused', code: 0x86, username: 'alice' });
	assert.match(password.title, /Wrong user name or password/);
	assert.match(password.text, /alice/);
	assert.match(explain({ kind: 'refused', code: 0x87, username: '' }).title, /needed/);
	for (let code = 0x80; code <= 0xa2; code++) {
		for (const kind of ['refused', 'ended']) {
			const { title, text } = explain({ kind, code });
			assert.ok(title && text);
		}
		assert.ok(explainSubscribe(code, 'a/#').text && explainPublish(code, 'a').text);
	}
	assert.match(explainSubscribe(0x87, 'a/#').text, /topic read a\/#/);
	assert.match(explainPublish(0x87, 'a', 'because').text, /because/);
});

test('a broker that cannot be reached: what is known of it', () => {
	const url = 'wss://h:8884/mqtt';
	assert.match(explain({ kind: 'unreachable', url, httpAnswers: null }).title, /certificate/);
	assert.equal(explain({ kind: 'unreachable', url, httpAnswers: null }).link, 'https://h:8884/');
	assert.match(explain({ kind: 'unreachable', url, httpAnswers: false }).title, /does not answer/);
	assert.match(explain({ kind: 'unreachable', url, httpAnswers: true }).title, /No WebSocket/);
	assert.match(explain({ kind: 'unreachable', url: 'ws://h/', httpAnswers: null }).text, /h, port 80/);
});
