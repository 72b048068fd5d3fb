"""The maps of the published grid dilemmas, in symbols of our own.

`#` wall, `.` floor, `+` where agents begin, `*` where two agents of an episode begin, `a` where apples grow, `r` river
that waste can cover, `w` the same, covered at the start, `s` river that stays clean.
"""

from __future__ import annotations

# Melting Pot 2, substrate commons_harvest__open [code].
HARVEST_MELTING_POT = """\
########################
#aaa....a......a....aaa#
#aa....aaa....aaa....aa#
#a....aaaaa..aaaaa....a#
#......aaa....aaa......#
#.......a......a.......#
#..a................a..#
#.aaa..*........*..aaa.#
#aaaaa............aaaaa#
#.aaa..............aaa.#
#..a................a..#
#......................#
#......................#
#......................#
#..++++++++++++++++++..#
#.++++++++++++++++++++.#
#++++++++++++++++++++++#
########################
"""

# Melting Pot 2, substrate clean_up [code].
CLEAN_UP_MELTING_POT = """\
##############################
#rwwwrwwrwrwrwrwrwrwrrwrwwwrw#
#rwrwrwwrwrwrwrwrwrwrrwrwwwrw#
#rwwrwwrrwrwrwrwrwrwrrwrwwwrw#
#rwrwrwwrwrwrwrwrwrwrrwrwwwrw#
#rwwwwwwrwrwrwrwrwrwrrwrwwwrw#
#...............swrrrrrr.....#
#...+....+..........sss......#
#.....+.....+...+...ss...+...#
#.............+...+.ss.......#
#...+....+..........ss....+..#
#...............+...ss.+.....#
#.....+...........+.ss.......#
#...........+.......ss..+....#
#..+.............+..ss.......#
#.a.a.a.a.a.a.a.a.a.ss..a.a.a#
#aaaaaaaaaaaaaaaaaaa..aaaaaaa#
#aaaaaaaaaaaaaaaaaaaaaaaaaaaa#
#aaaaaaaaaaaaaaaaaaaaaaaaaaaa#
#aaaaaaaaaaaaaaaaaaaaaaaaaaaa#
##############################
"""

# Vinitsky et al. 2019, sequential_social_dilemma_games [reimpl], after the figures of Hughes et al. 2018.
HARVEST_HUGHES = """\
######################################
#.+...+......a....+.aaaaa....+..a.+..#
#..+.....a.+.aa....+....aaa....a..a..#
#.....a.aaa..aaa....a....a.aa.aaaa...#
#.a..aaa.a....a..a.aaa..a..a...a.a...#
#aaa..a.a....a..aaa.a..aaa........a.+#
#.a.a..aaa..aaa..a.a....a.aa...aa.aa.#
#..a.a..aaa....a.a..aaa....aaa..a....#
#...aaa..a......aaa..a....aaaa.......#
#.+..a.......a..a.aaa....a..a......+.#
#a..aaa..a..a..aaa.a....aaaa.....+...#
#....a.a...aaa..a.a......a.aa...a..+.#
#.....aaa...a.a..aaa......aa...aaa.+.#
#.a....a.....aaa..a..+..........a....#
#.......+.....a.........+..+.+.....+.#
######################################
"""

CLEAN_UP_HUGHES = """\
##################
#rrrrrr.....aaaaa#
#wwwwww......aaaa#
#rrrrrr.....aaaaa#
#rrrrr..+....aaaa#
#rrrrr....+.aaaaa#
#wwwww.......aaaa#
#rrrrr......aaaaa#
#wwwwwwssssssaaaa#
#wwwwwwssssssaaaa#
#rrrrr...+.+.aaaa#
#wwwww...+..aaaaa#
#rrrrrr....+.aaaa#
#wwwwww.+...aaaaa#
#rrrrr.......aaaa#
#wwww....+..aaaaa#
#rrrrr.......aaaa#
#wwwww..+.+.aaaaa#
#rrrrr.......aaaa#
#wwww.......aaaaa#
#rrrrr.......aaaa#
#wwwww......aaaaa#
#rrrrr.......aaaa#
#wwww.......aaaaa#
##################
"""
