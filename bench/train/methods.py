"""The methods of the arena: what each adds to a work's job file, and the grid of its learning rate.

A grid is tried with the first seed only; the value with the best end is then run with every seed.
Grids were stated before anything was measured and are the same for all that share an optimizer.
"""

import dataclasses

ADAMW = ("spec.train.optimizer.adamw={beta2: 0.98, weight_decay: 0.1}",)
MUON = ("spec.train.optimizer.muon={weight_decay: 0.05,"
        " adamw: {learning_rate: 3e-3, beta2: 0.98, weight_decay: 0.1}}",)
ADAMW_RATE = "spec.train.optimizer.adamw.learning_rate"
MUON_RATE = "spec.train.optimizer.muon.learning_rate"
ADAMW_GRID = (3e-3, 6e-3, 1.2e-2)
MUON_GRID = (0.01, 0.02, 0.04)


@dataclasses.dataclass(frozen=True)
class Method:
    """settings: for `laconic run --set`. source: where the recipe is from."""
    settings: tuple[str, ...]
    rate: str              # path of the learning rate in the job file
    grid: tuple[float, ...]
    source: str
    baseline: bool = False


def local(optimizer, inner_steps, compressor, outer=(0.7, 0.6), schedule="AUTO"):
    """Settings of H inner steps between rounds."""
    return optimizer + (
        f"spec.exchange.local={{inner_steps: {inner_steps}, outer_rate: {outer[0]},"
        f" outer_momentum: {outer[1]}}}",
        f"spec.exchange.compressor={compressor}",
        f"spec.exchange.schedule={schedule}")


def laconic(*settings):
    """The preset, with what a point of its frontier changes."""
    return Method(("spec.preset=LACONIC", *settings), MUON_RATE, (0.01, 0.02), "preset LACONIC")


ONE_BIT = "{quantize: {bits: 1, rows: {}}}"
SPARSE = "{top_k: {density: 0.0625, value_bits: 1}, entropy: true}"
DENSE = ("spec.exchange.dense={}",)

METHODS = {
    "laconic": laconic(),
    "laconic_r32": laconic("spec.exchange.local.rounds=32"),
    "laconic_r22": laconic("spec.exchange.local.rounds=22"),
    "laconic_decay09": laconic("spec.exchange.compressor.residual_decay=0.9"),
    "laconic_r12": laconic("spec.exchange.local.rounds=12"),
    "laconic_r8": laconic("spec.exchange.local.rounds=8"),
    # About 500, 1,000, 4,000 and 10,000 times less than dense in 1,000 steps.
    "laconic_r58": laconic("spec.exchange.local.rounds=58"),
    "laconic_r29": laconic("spec.exchange.local.rounds=29"),
    "laconic_r7": laconic("spec.exchange.local.rounds=7"),
    "laconic_r3": laconic("spec.exchange.local.rounds=3"),
    # For unlike shares.
    "laconic_r22_adjusted": laconic("spec.exchange.local.rounds=22",
                                    "spec.train.logit_adjustment=1"),
    "laconic_r22_adjusted_shift": laconic("spec.exchange.local.rounds=22",
                                          "spec.train.logit_adjustment=1",
                                          "spec.exchange.local.shift=1"),
    # Steps between rounds by the measured similarity: the same job for like and unlike shares.
    "laconic_similar": laconic("spec.exchange.local.inner_steps=16",
                               "spec.exchange.local.inner_steps_max=64"),
    "adamw_dense_adjusted": Method(ADAMW + DENSE + ("spec.train.logit_adjustment=1",), ADAMW_RATE,
                                   ADAMW_GRID, "arXiv 2007.07314"),
    "adamw_dense": Method(ADAMW + DENSE, ADAMW_RATE, ADAMW_GRID, "the baseline L0", baseline=True),
    "muon_dense": Method(MUON + DENSE, MUON_RATE, MUON_GRID, "the baseline L1", baseline=True),
    "diloco": Method(local(ADAMW, 32, "{none: {}}", (0.7, 0.9)), ADAMW_RATE, (6e-3,),
                     "Douillard et al., arXiv 2311.08105"),
    "sparseloco": Method(local(ADAMW, 30, "{chunked_top_k: {}, residual_decay: 0.95}", (1.0, 0.0)),
                         ADAMW_RATE, (6e-3,), "arXiv 2508.15706"),
    "muloco": Method(local(MUON, 30, "{quantize: {bits: 2, rows: {}}}"), MUON_RATE, (0.02,),
                     "arXiv 2505.23725"),
    "muon_1bit_h32": Method(local(MUON, 32, ONE_BIT, schedule="ALL_GATHER"), MUON_RATE, (0.02,),
                            "the plain recipe, H = 32"),
    "muon_1bit_h64": Method(local(MUON, 64, ONE_BIT, schedule="ALL_GATHER"), MUON_RATE, (0.02,),
                            "the plain recipe, H = 64"),
    "muon_1bit_sharded_h64": Method(local(MUON, 64, ONE_BIT, schedule="SHARDED"), MUON_RATE,
                                    (0.02,), "mean encoded again: half the bytes of all-gather"),
    "muon_sparse_sharded_h64": Method(local(MUON, 64, SPARSE, schedule="SHARDED"), MUON_RATE,
                                      (0.02,), "0.4 bits per parameter each way"),
    # A rank keeps back what is small, and adds it to its next message.
    "lazy_carried": Method(MUON + (
        "spec.exchange.lazy={threshold: 0.95}",
        "spec.exchange.compressor={quantize: {bits: 8}, feedback: ERROR_FEEDBACK}"), MUON_RATE,
        MUON_GRID[1:], "CLAG's question, the change carried"),
    "lazy_carried_09": Method(MUON + (
        "spec.exchange.lazy={threshold: 0.9}",
        "spec.exchange.compressor={quantize: {bits: 8}, feedback: ERROR_FEEDBACK}"), MUON_RATE,
        (0.02,), "CLAG's question, the change carried"),
    # 1 % of the elements, a rank's own, a leader's, or a leader's from the round on in which the ranks'
    # own are alike enough.
    "top_k_h32": Method(local(MUON, 32, "{top_k: {density: 0.01, value_bits: 8}}"), MUON_RATE,
                        (0.02,), "own elements"),
    "leader_h32": Method(local(MUON, 32, "{shared_index: {density: 0.01, value_bits: 8}}"),
                         MUON_RATE, (0.02,), "shared elements"),
    "overlap_h32": Method(
        local(MUON, 32, "{shared_index: {density: 0.01, value_bits: 8, by_overlap: true}}"),
        MUON_RATE, (0.02,), "shared elements by overlap"),
    "top_k_dense": Method(MUON + DENSE + (
        "spec.exchange.compressor={top_k: {density: 0.01, value_bits: 8}}",), MUON_RATE, (0.02,),
        "own elements, every step"),
    "overlap_dense": Method(MUON + DENSE + (
        "spec.exchange.compressor={shared_index: {density: 0.01, value_bits: 8, by_overlap: true}}",),
        MUON_RATE, (0.02,), "shared elements by overlap, every step"),
    "streaming_diloco_fp4": Method(
        ADAMW + ("spec.preset=STREAMING_DILOCO_FP4", "spec.exchange.local.inner_steps=32"),
        ADAMW_RATE, (6e-3,), "arXiv 2501.18512, H = 32"),
    "power_sgd": Method(ADAMW + ("spec.exchange.power_sgd={rank: 4}",), ADAMW_RATE, (6e-3,),
                        "arXiv 1905.13727"),
    "demo": Method(("spec.train.optimizer.sgd={momentum: 0}", "spec.exchange.demo={kept: 32}"),
                   "spec.train.optimizer.sgd.learning_rate", (1e-3, 3e-3), "arXiv 2411.19870"),
}
