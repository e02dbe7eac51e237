import { describe, expect, it } from "vitest";
import { renderChat } from "./chat-template.ts";

// The texts are those of jinja2 3.1.6, set up as transformers does it.
it.each([
  ["writes values as Python does", "{{ [1, 'a', none, true, 1.5, {'k': \"it's\"}] }} {{ (1,2) }} {{ none }} {{ false }} {{ 1.0 }} {{ ['\\n\\x00\\u00ad🙂'] }}", "[1, 'a', None, True, 1.5, {'k': \"it's\"}] (1, 2) None False 1.0 ['\\n\\x00\\xad🙂']"],
  ["writes numbers as Python does", "{{ 10 ** 20 }} {{ 10.0 ** 20 }} {{ 0.00001 }} {{ 0.1 + 0.2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }}", "100000000000000000000 1e+20 1e-05 0.30000000000000004 3.5 3.0 -4 2 -2"],
  ["compares by value", "{{ [1,[2]] == [1,[2.0]] }} {{ {'a':1} == {'a':true} }} {{ '1' == 1 }} {{ [1] in [[1]] }} {{ [1] != (1,2) }} {{ 'a' < 'b' }} {{ [1,2] < [1,3] }}", "True True False True True True True"],
  ["tells undefined from none", "[{{ u }}] {{ u == none }} {{ u is none }} {{ none|default('d') }} {{ u|default('d') }} {{ u == v }} {{ none == none }} {{ none.x is defined }} {{ 'x' in u }} {{ u|list }}", "[] False False None d True True False False []"],
  ["counts code points", "{{ '🙂x'|length }} {{ '🙂x'[1] }} {{ '🙂x'[0] }} {{ '🙂x'[-2] }} {{ 'a🙂b'.find('b') }} {{ '🙂abc'[::-1] }} {{ '🙂🙃🙂'.strip('🙂') }} {% for c in '🙂x' %}[{{ c }}]{% endfor %}", "2 x 🙂 🙂 2 cba🙂 🙃 [🙂][x]"],
  ["knows the methods of texts", "{{ 'hELLO'.capitalize() }} {{ \"they're\".title() }} {{ 'a-b-c'.rsplit('-', 1) }} {{ ' a  b c '.split(none, 1) }} {{ ' a b  c'.rsplit(none, 1) }} {{ 'a\\r\\nb\\n'.splitlines() }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.removeprefix('a').removesuffix('c') }} {{ 'aba'.count('a') }} {{ 'abc'.find('d') }} {{ '12'.isdigit() }} {{ 'abc'.replace('', '-', 2) }} {{ ', '.join(['a', 'b']) }} {{ 'ab'.endswith(('x', 'b')) }} {{ '[' ~ ' x '.strip(none) ~ ']' }}", "Hello They'Re ['a-b', 'c'] ['a', 'b c '] [' a b', 'c'] ['a', 'b'] ('a', '=', 'b=c') ('a=b', '=', 'c') b 2 -1 True -a-bc a, b True [x]"],
  ["repeats, formats and joins", "{{ '-' * 5 }} {{ 2 * [0] }} {{ '%s is %d, %5.2f|%-3s|%03d' % ('a', 3, 2.5, 'b', 7) }} {{ '%s=%s'|format('k', none) }} {{ 'a' ~ none ~ true ~ [1] }} {{ [1, none]|join(',') }} {{ [{'r': 'a'}, {'r': 'b'}]|join(',', attribute='r') }}", "----- [0, 0] a is 3,  2.50|b  |007 k=None aNoneTrue[1] 1,None a,b"],
  ["filters", "{{ none|trim }} {{ [1, 2.5]|sum }} {{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }} {{ [1,2,3]|select('odd')|list }} {{ [1,2,3]|reject('gt', 1)|list }} {{ [{'a': 1}, {}]|selectattr('a', 'undefined')|list }} {{ ['b','A']|sort }} {{ ['a','A','b']|unique|list }} {{ ['a']|map('upper')|list }} {{ '12abc'|int }} {{ '5.9'|int }} {{ -3.7|int }} {{ 2.5|round }} {{ 2.567|round(2) }} {{ {'b': 1, 'a': 2}|dictsort }} {{ 'a\\n\\nb'|indent(2) }} {{ [3,1]|max }} {{ {'a': 1}|count }}", "None 3.5 3 [1, 3] [1] [{}] ['A', 'b'] ['a', 'b'] ['A'] 0 5 -3 2.0 2.57 [('a', 2), ('b', 1)] a\n\n  b 3 1"],
  ["writes JSON as Python does", "{{ {'b': [1.0, 10.0 ** 20, none], 'a': '</é\\x7f'}|tojson }} {{ {'b': {}, 'a': [1]}|tojson(indent=2, sort_keys=true) }} {{ 'é🙂'|tojson(true) }} {{ [1, 2]|tojson(separators=(',', ':')) }}", "{\"b\": [1.0, 1e+20, null], \"a\": \"</é\"} {\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n} \"\\u00e9\\ud83d\\ude42\" [1,2]"],
  ["finds a mapping's methods after a dot and its keys in brackets", "{{ {'items': 1}['items'] }} {{ {'items': 1}.items()|list }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': 1}.b is defined }} {{ dict(a=1, **{'b': 2}) }} {{ dict([('a', 1)]) }}", "1 [('items', 1)] None 2 False {'a': 1, 'b': 2} {'a': 1}"],
  ["goes through loops", "{% for x in [1,1,2] %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x) }}{{ loop.depth }} {% endfor %}{% for a, b in [(1,2)] %}{{ a + b }}{% endfor %}{% for x in u %}x{% else %}none{% endfor %}{% for x in [1,2] %}{{ y is defined }}{% set y = 1 %}{% endfor %}{% for x in [1,2,3,4] if x != 2 %}{% if loop.index == 2 %}{% continue %}{% endif %}{{ x }}{{ loop.last }}{% endfor %}{% for x in [1] %}{% break %}{% else %}broken{% endfor %}", "aTrue1 bFalse1 aTrue1 3noneFalseFalse1False4Truebroken"],
  ["keeps what is raw", "a\n  {% raw %}\n {{ x }} {% if %} \"q\" \\n \n  {% endraw %}\nb{%- raw -%}  {{ x }}  {%- endraw -%}  c", "a\n\n {{ x }} {% if %} \"q\" \\n \nb{{ x }}c"],
  ["keeps the white space beside a plus", "  {%+ if true %}\na\n  {% endif +%}\n  {% if true %}\nb\n{% endif %}\n", "  a\n\nb\n"],
  ["has none for tools and documents, and no token that is not there", "{{ tools is none }}{{ documents is none }}{{ bos_token is defined }}{{ thinking is none }}", "TrueTrueFalseTrue"],
])("%s", (_, template, text) => expect(renderChat(template, [], { bos_token: null, thinking: null })).toBe(text));

it.each([
  "{{ u.a }}",
  "{{ u.a.b }}",
  "{{ 1 + 'a' }}",
  "{{ 'a' + 1 }}",
  "{{ 'a' + none }}",
  "{{ 'a' + u }}",
  "{{ [1] + (2,3) }}",
  "{{ 1 in 'a' }}",
  "{{ none|length }}",
  "{{ none < 1 }}",
  "{{ 1 // 0 }}",
  "{{ [1].append(2) }}",
  "{{ {'a': 1}.update(b=2) }}",
  "{{ '%s' % (1, 2) }}",
  "{{ '%s%s' % 1 }}",
  "{{ u|tojson }}",
  "{{ ['a']|sum }}",
  "{{ 'abc'.index('d') }}",
  "{% for x in none %}{% endfor %}",
  "{% for a, b in [1] %}{% endfor %}",
  "{{ 'a'.split('') }}",
])("refuses %s", (template) => expect(() => renderChat(template, [])).toThrow(expect.objectContaining({ code: "bad_argument" })));

describe("work that a template hides in one call", () => {
  const doubled = (name: string, start: string, times: number): string => `{% set ns = namespace(x='${start}') %}{% for i in range(${times}) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{% set ${name} = ns.x %}`;
  const often = (body: string): string => `{% for i in range(200000) %}{{ ${body} }}{% endfor %}`;

  it.each([
    "{{ 'a' * 10 ** 9 }}",
    "{{ [1] * 10 ** 9 }}",
    `${doubled("a", "a", 21)}{{ a.replace('a', a) }}`,
    `${doubled("a", "a", 20)}{{ range(200000)|join(a) }}`,
    `${doubled("a", "a", 20)}${doubled("b", "a", 18)}{% set b = 'b' + b %}${often("b in a")}`,
    `${doubled("a", "a", 20)}${doubled("b", "a", 20)}{% set a = [a] %}{% set b = [b] %}${often("a == b")}`,
    `{% set a = range(200000) %}{{ a|select('in', a)|list }}`,
    `${doubled("a", "%(x)s", 16)}${doubled("b", "a", 20)}{{ a % {'x': b} }}`,
    `${doubled("a", "\\n", 20)}{{ a|indent(65536) }}`,
  ])("is refused: %s", (template) => expect(() => renderChat(template, [])).toThrow(expect.objectContaining({ code: "too_large" })));

  it("is little where many characters are stripped of a long text", () => {
    expect(renderChat(`${doubled("a", "a", 19)}${doubled("b", "b", 19)}{{ a.lstrip(b + 'a')|length }}`, [])).toBe("0");
  });
});
