// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';
import { filterProblem, matcher, sharedRest, topicProblem } from '../src/lib/topics.js';

const MATCHES = [
	['#', 'a/b', true], ['#', '$SYS/x', false], ['+/x', '$SYS/x', false], ['$SYS/#', '$SYS/x', true],
	['a/#', 'a', true], ['a/#', 'a/b/c', true], ['a/#', 'ab', false], ['a/+', 'a/b', true],
	['a/+', 'a', false], ['a/+', 'a/', true], ['a/+', 'a/b/c', false], ['+', 'a', true], ['+/+', '/a', true],
	['a/b', 'a/b', true], ['a/b', 'a/B', false], ['/+/x', '//x', true], ['$share/g/a/+', 'a/b', true],
];

test('topics match as the specification says', () => {
	for (const [filter, topic, wanted] of MATCHES) {
		assert.equal(matcher(filter)(topic), wanted, `${filter} ${topic}`);
	}
});

test('good filters have no problem', () => {
	for (const filter of ['#', '+', 'a/+/b/#', '/', '$share/g/#', 'a b', '+/+']) {
		assert.equal(filterProblem(filter), '', filter);
	}
});

test('bad filters are explained', () => {
	for (const filter of ['', 'a#', 'a/#/b', 'a+/b', '#/a', '$share/g', '$share//a', '$share/a+/b', '$share/g/', 'a\0',
		'x'.repeat(65536)]) {
		assert.notEqual(filterProblem(filter), '', filter.slice(0, 20));
	}
});

test('topics have no wildcards', () => {
	assert.equal(topicProblem('a/b'), '');
	for (const topic of ['', 'a/+', '#', 'a\0', 'x'.repeat(65536)]) {
		assert.notEqual(topicProblem(topic), '');
	}
});

test('the filter of a shared group', () => {
	assert.equal(sharedRest('$share/g/a/b'), 'a/b');
	assert.equal(sharedRest('a/b'), 'a/b');
});
