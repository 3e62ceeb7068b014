"""Training data from a policy's own answers: rejection sampling, a judge's rankings, critique and revision, online DPO.

    llmill reject    CONFIG --out runs/best        # best of K by a reward  -> instructions, preference pairs
    llmill feedback  CONFIG --out runs/ranked      # a judge ranks K answers -> preference pairs
    llmill critique  CONFIG --out runs/revised     # critique and revise by principles -> instructions, pairs
    llmill online-dpo CONFIG --out runs/online     # sample, score, DPO step, again

In reading order: `config`, `answers` (sampling in pieces that survive a kill), `scores`, `selection` (which answers are
kept), `judges`, and the stages `reject`, `rank`, `critique`, `online`. `sums` is a small world to try it in.
"""
