#!/bin/sh
# Writes the problems that recipes/r1-nano.ts trains on to data/r1-nano.jsonl: each task at the configurations of the file that is
# given (levels.hard.NAME.config), and easier ones of some. Seeds stay clear of 45, the published evaluation's.
#   sh scripts/r1-nano-problems.sh PUBLISHED.json
set -eu
hard=$1
out=data
mkdir -p "$out/parts"
part() { # NAME SIZE SEED [CONFIG]
  bin/longjing tasks import reasoning-gym --task "$1" --hard "$hard" --size "$2" --seed "$3" --config "${4:-{\}}" --out "$out/parts/$1-$3.jsonl"
}
part aiw 3000 1000000
part ab 12000 1000000
part ab 3000 2000000 '{"length":6}'
part ab 4000 3000000 '{"length":12}'
part ab 3000 4000000 '{"length":18}'
part n_queens 16000 1000000
part n_queens 2000 2000000 '{"min_remove":1,"max_remove":3}'
part palindrome_generation 8000 1000000
part palindrome_generation 3000 2000000 '{"min_length":4,"max_length":20}'
part palindrome_generation 3000 3000000 '{"min_length":20,"max_length":50}'
part emoji_mystery 5000 1000000
part count_primes 20000 1000000
part figlet_font 5000 1000000
part figlet_font 3000 2000000 '{"min_word_len":2,"max_word_len":5}'
part modulo_grid 8000 1000000
part string_insertion 8000 1000000
part string_insertion 3000 2000000 '{"min_string_length":5,"max_string_length":30}'
part decimal_chain_sum 12000 1000000
part decimal_chain_sum 5000 2000000 '{"min_terms":2,"max_terms":3}'
part shortest_path 1000 1000000
part shortest_path 1500 7000000 '{"min_rows":5,"max_rows":12,"min_cols":5,"max_cols":12}'
part rotten_oranges 1000 1000000
part rotten_oranges 1500 7000000 '{"min_n":5,"max_n":12}'
part maze 1000 1000000
part maze 1500 7000000 '{"min_grid_size":6,"max_grid_size":14,"min_dist":3,"max_dist":8}'
part bf 700 1000000
part rush_hour 700 1000000
cat "$out"/parts/*.jsonl > "$out/r1-nano.jsonl"
