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
part aiw 3000 2000000
part n_queens 12000 1000000
part n_queens 8000 5000000
part n_queens 2000 2000000 '{"min_remove":1,"max_remove":3}'
part palindrome_generation 8000 1000000
part palindrome_generation 12000 4000000
part palindrome_generation 3000 2000000 '{"min_length":4,"max_length":20}'
part palindrome_generation 3000 3000000 '{"min_length":20,"max_length":50}'
part course_schedule 12000 1000000
part course_schedule 4000 2000000 '{"min_num_courses":6,"max_num_courses":20}'
part count_primes 5000 1000000
part count_primes 15000 2000000
part propositional_logic 8000 1000000
part bf 800 1000000
part bf 3000 2000000
part emoji_mystery 4000 1000000
part emoji_mystery 4000 2000000
part sentence_reordering 5000 1000000
part sentence_reordering 6000 2000000
part modulo_grid 4000 1000000
part rectangle_count 2500 1000000
part rectangle_count 2500 2000000 '{"max_rectangles":15,"width":30,"height":30}'
# What is answered alike whatever is asked.
part game_of_life 150 1000000
part pool_matrix 80 1000000
part binary_matrix 40 1000000
part spiral_matrix 40 1000000
part figlet_font 700 1000000
part rush_hour 500 1000000
part shortest_path 1000 1000000
part shortest_path 1500 7000000 '{"min_rows":5,"max_rows":12,"min_cols":5,"max_cols":12}'
part rotten_oranges 1000 1000000
part rotten_oranges 1500 7000000 '{"min_n":5,"max_n":12}'
part maze 1000 1000000
part maze 1500 7000000 '{"min_grid_size":6,"max_grid_size":14,"min_dist":3,"max_dist":8}'
cat "$out"/parts/*.jsonl > "$out/r1-nano.jsonl"
