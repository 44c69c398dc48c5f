// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';
import { Message, MessageStore, searchOf } from '../src/messages/store.js';

function message(topic, text = '') {
	return new Message({ topic, time: 0, qos: 0, retain: false, dup: false }, new TextEncoder().encode(text));
}

function shown(store) {
	return Array.from({ length: store.shownSize }, (_x, index) => store.at(index).topic);
}

test('the newest stands first, the oldest leave', () => {
	const store = new MessageStore(3);
	for (let i = 0; i < 100; i++) {
		store.add(message(`t${i}`));
		assert.ok(store.all.length < 8 && store.shown.length < 8);
	}
	assert.deepEqual(shown(store), ['t99', 't98', 't97']);
	assert.equal(store.size, 3);
	assert.equal(store.total, 100);
});

test('bytes are bounded as well, but the last message stays', () => {
	const store = new MessageStore(100, 10);
	for (const size of [4, 4, 4, 50]) {
		store.add(message(`s${size}`, 'x'.repeat(size)));
	}
	assert.deepEqual(shown(store), ['s50']);
	assert.equal(store.bytes, 50);
});

test('a filter holds for what is there and for what comes', () => {
	const store = new MessageStore(10);
	store.add(message('a/x', 'Red wine'));
	store.add(message('b/x', 'white'));
	store.filter(searchOf('red'));
	assert.deepEqual(shown(store), ['a/x']);
	store.add(message('c/x', 'red'));
	store.add(message('c/y', 'green'));
	assert.deepEqual(shown(store), ['c/x', 'a/x']);
	store.filter(searchOf('c/+'));
	assert.deepEqual(shown(store), ['c/y', 'c/x']);
	store.filter(searchOf(''));
	assert.equal(store.shownSize, 4);
});

test('what a filter shows leaves with the oldest', () => {
	const store = new MessageStore(2);
	store.filter(searchOf('keep'));
	store.add(message('keep/1'));
	store.add(message('x'));
	store.add(message('y'));
	assert.equal(store.shownSize, 0);
});

test('a snapshot stands still', () => {
	const store = new MessageStore(2);
	store.add(message('a'));
	const still = store.snapshot();
	for (let i = 0; i < 10; i++) {
		store.add(message(`b${i}`));
	}
	assert.equal(still.shownSize, 1);
	assert.equal(still.at(0).topic, 'a');
	assert.equal(store.total - still.newest, 10);
	store.clear();
	assert.equal(store.size, 0);
	assert.equal(still.at(0).topic, 'a');
});

test('all words must be there, in topic or payload', () => {
	const search = searchOf('Kitchen 21');
	assert.ok(search(message('home/kitchen', '{"v": 21.5}')));
	assert.ok(!search(message('home/kitchen', '22')));
	assert.equal(searchOf('  '), null);
});
