"""The rules, tables and figures of chapter 6, on made-up records of which the answers are known."""

import re

import diet_records as made
import pytest
import torch

from lotterybook.diet import experiments, figures, findings, maps, readings, rules
from lotterybook.narrow import narrow
from lotterybook.panes import Panes
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED

K = 75


def test_half_of_the_data_by_score():
    def judged(**changes):
        return rules.half_is_enough(made.scores(), made.pruned(**changes)).verdict

    # of the set of 400, whose error with all examples is 2 %: what half of it gives is midway from a quarter to all
    assert judged(hard=(0.09, 0.029, 0.008)) == HOLDS  # 2.45 %
    assert judged(hard=(0.09, 0.034, 0.008)) == PARTLY  # 2.7 %, and at random 2.75 %
    assert judged(hard=(0.01, 0.05, 0.001)) == FAILS
    row = rules.half_is_enough(made.scores(), made.pruned(hard=(0.09, 0.029, 0.008)))
    assert row.value == "hardest 2.45 ± 0.06 %, random 2.75 ± 0.06 %, all examples 2.00 ± 0.06 %"
    assert "hardest 50 % of the usual training set" in row.measure


@pytest.mark.parametrize(("auc", "verdict"), [(0.95, HOLDS), (0.8, PARTLY), (0.6, FAILS)])
def test_false_labels_have_to_be_found(auc, verdict):
    row = rules.noise_is_found(made.scores(auc))
    assert row.verdict == verdict and row.value == f"{auc:.3f}; of the 20 highest scores 75 % are false"
    assert row.measure.startswith("5 % of the labels are false") and "after 75 steps" in row.measure


def test_scores_of_another_network_have_to_rank_alike():
    scores = made.scores()
    assert rules.scores_carry_over(scores).verdict == HOLDS
    mixed = scores["other"].clone()
    part = 6 * len(mixed) // 10
    mixed[:part] = mixed[:part].flip(0)
    assert rules.scores_carry_over({**scores, "other": mixed}).verdict == PARTLY
    assert rules.scores_carry_over({**scores, "other": -scores["other"]}).verdict == FAILS
    assert rules.scores_carry_over({**scores, "other": -scores["other"]}).value == "rank correlation −1.00"


def test_a_random_part_has_to_start_imp_as_well():
    def judged(small, large, k=K):
        return rules.random_part_suffices(made.early(random_5_75=small, random_25_75=large), k)

    assert judged(0.004, 0.005).verdict == HOLDS, "half a point is within"
    assert judged(0.006, 0.002).verdict == judged(0.002, 0.006).verdict == PARTLY
    assert judged(0.006, 0.02).verdict == FAILS
    row = judged(0.001, 0.002)
    assert row.value == (
        "at 26 % of the weights, above the error with all examples: random 5 % 0.10 points; random 25 % 0.20 points"
    )
    record = made.early()
    record["all_error"][:, 1:] = 0.5
    assert rules.random_part_suffices(record, K).verdict == UNTESTED


def test_easy_data_have_to_spare_steps():
    """At the last level where all examples from step 75 match; all examples from step 25 are two points worse."""

    def judged(easy, chance):
        return rules.easy_needs_fewer_steps(made.early(easiest_5_25=easy, random_5_25=chance), K).verdict

    assert judged(0.003, 0.01) == HOLDS
    assert judged(0.003, 0.004) == PARTLY, "as much from random ones"
    assert judged(0.01, 0.015) == PARTLY and judged(0.019, 0.03) == PARTLY
    assert judged(0.021, 0.03) == FAILS, "no better than all examples"
    assert judged(0.015, 0.01) == FAILS, "worse than random ones"
    record = made.early()
    record["all_error"][0] = record["all_error"][1]
    assert rules.easy_needs_fewer_steps(record, K).verdict == UNTESTED, "nothing to gain"
    row = rules.easy_needs_fewer_steps(made.early(easiest_5_25=0.003, random_5_25=0.01), K)
    assert row.value == (
        "from step 25, above all examples at step 75: easiest 5 % 0.30 points; random 5 % 1.00 points; all examples "
        "2.00 points"
    )


def test_the_hardest_have_to_be_worth_more_than_random_ones():
    assert rules.choice_beats_chance(made.pruned()).verdict == HOLDS
    assert rules.choice_beats_chance(made.pruned(hard=(0.01, 0.01, 0.016))).verdict == FAILS
    record = made.pruned()
    record["error"][-1, 2, 0] = 0.5
    assert rules.choice_beats_chance(record).verdict == PARTLY
    assert rules.choice_beats_chance(made.pruned()).value == (
        "with 400 of 1,600 examples: hardest 0.80 %, random 1.50 %"
    )


def test_a_start_on_the_hardest_examples_is_compared_with_one_on_as_many_random_ones():
    def judged(soon, late):
        return rules.hard_start_is_worse(made.early(hardest_5_25=soon, hardest_5_75=late), K)

    assert judged(0.03, 0.02).verdict == HOLDS  # random ones: 1.1 and .1 points
    assert judged(0.03, 0.005).verdict == PARTLY and judged(0.012, 0.005).verdict == FAILS
    assert judged(0.03, 0.02).value == "hardest minus random: step 25 1.90 points; step 75 1.90 points"


def test_what_to_keep_may_depend_on_how_much_there_is():
    def judged(*gaps):
        easy = (0.05, 0.05, 0.05)
        return rules.best_order_depends_on_size(made.pruned([0.05 + gap for gap in gaps], easy))

    assert judged(0.02, 0.0, -0.01).verdict == HOLDS
    assert judged(0.03, 0.02, 0.01).verdict == PARTLY and judged(0.02, 0.03, -0.01).verdict == FAILS
    assert judged(0.02, 0.0, -0.01).value == "2.0 points, 0.0 points, −1.0 points for sets of 100 to 1,600"


def test_weights_and_examples_are_compared_at_equal_work():
    """A quarter of the examples with all weights against all examples with 26 % of them, which err on 1.5 %."""
    assert rules.weights_are_cheaper(made.fed(0.02)).verdict == HOLDS
    assert rules.weights_are_cheaper(made.fed(0.002)).verdict == FAILS
    record = made.fed(0.02)
    record["error"][1] = record["all_error"]
    assert rules.weights_are_cheaper(record).verdict == PARTLY
    assert rules.weights_are_cheaper(made.fed(0.02)).value == (
        "weights 1.50 ± 0.06 %; examples: random 5.50 ± 0.06 %, hardest 5.50 ± 0.06 %"
    )
    assert readings.equal_work(record) == (0.25, 0, 6)


def test_the_law_is_counted_by_the_dense_network_on_the_same_examples():
    """Levels 4 to 6 match and are connected, 7 and 8 neither, in each of four columns."""
    row = rules.law_on_less(made.fed())
    assert row.verdict == HOLDS and row.value == "*if*: 12 of 12; *only if*: 12 of 12"
    record = made.fed()
    record["barrier"] = torch.zeros_like(record["barrier"])
    assert rules.law_on_less(record).value == "*if*: 12 of 12; *only if*: 12 of 20"
    assert rules.law_on_less(record).verdict == FAILS


def test_a_valley_is_flatter_if_more_may_be_pruned():
    assert rules.flatter_with_less(made.curved(0.1)).verdict == HOLDS
    assert rules.flatter_with_less(made.curved(-0.1)).verdict == FAILS
    record = made.curved(0.1)
    record["predicted"][1] = 0.1
    assert rules.flatter_with_less(record).verdict == PARTLY
    assert rules.flatter_with_less(made.curved(0.1)).value == (
        "all examples 60 ± 0.1 %; the smallest share, random 80 ± 0.1 %, hardest 80 ± 0.1 %"
    )


def every():
    return made.scores(), made.early(), made.pruned(), made.fed(), made.curved()


def test_tables_have_a_row_for_each_statement_and_short_values():
    scores, early, pruned, fed, curved = every()
    papers, own = findings.verdict(scores, early, pruned, K), findings.questions(early, pruned, fed, curved, K)
    assert len(papers) == 6 and len(own) == 5
    years = [re.search(r"(\w+) et al. (\d+)", row.claim).groups() for row in papers]
    assert years == [("Paul", "2021")] * 3 + [("Paul", "2022")] * 2 + [("Sorscher", "2022")]
    for row in (*papers, *own):
        assert "holds" in row.measure and not row.measure.endswith(".")
        assert not re.search(r"\b(nan|inf|None)\b", row.value) and len(row.value) < 160
    starts, sizes = findings.starts(early), findings.sizes(pruned)
    assert len(starts) == 2 + 9 and "| 75 | random 5 % | 26 % | 1.60 ± 0.06 % |" in starts[8]
    assert len(sizes) == 2 + 9 and sizes[2] == "| 100 | all | 4.00 ± 0.06 % | 4.00 ± 0.06 % | 4.00 ± 0.06 % |"


def test_numbers_and_sentences_are_those_of_the_records(monkeypatch):
    scores, early, pruned, fed, curved = every()
    named = {"scores": scores, "early_data": early, "pruned_data": pruned, "both": fed, "landscape_of_data": curved}
    for name, record in named.items():
        monkeypatch.setattr(experiments, name, lambda preset, record=record: record)
    blank = torch.stack([made.replicated(*[0.05] * 9), early["all_error"][1]], 1)
    tickets = {"error": blank, "rewind_step": torch.tensor([0, 75])}
    monkeypatch.setattr(findings, "winning_tickets", lambda preset: tickets)
    said = findings.numbers("book")
    assert said["start initialization"] == "3.50 points" and said["start barrier random 5 % k=75"] == "0.2 points"
    assert said["fed if"] == said["fed only if"] == "12 of 12" and said["work half of each random"] == "3.50 ± 0.06 %"
    assert said["largest all"] == "7.0" and said["largest random"] == "5.0"
    assert said["EL2N halves"] == "0.75" and said["EL2N easiest classes"] == "3" and said["EL2N precision"] == "75 %"
    assert said["starts weights"] == "26 %" and said["start random 5 % k=75"] == "0.10 points"
    assert said["error hardest 25 % of 1600"] == "0.80 ± 0.06 %" and said["error all of 400"] == "2.00 ± 0.06 %"
    assert said["work"] == "25 %" and said["work weights"] == "1.50 ± 0.06 %" and said["valley all"] == "60 ± 0.1 %"
    told = findings.sentences("book")
    assert len(told) == 5 + 2 + 9 + 3 + 5 + 1 and all(text.endswith(".") for text in told)
    assert findings.row("book").verdict == HOLDS


@pytest.fixture(scope="module")
def drawn(mnist1d):
    scores, early, pruned, fed, curved = every()
    larger = {name: torch.cat([scores[name]] * 10, 1) for name in ("score", "mislabelled")}
    return {
        "examples": figures.examples(mnist1d, {**scores, **larger}), "ranking": figures.ranking(scores),
        "noise": figures.noise(scores), "starts": figures.starts(early, K), "cost": figures.cost(early, K),
        "sizes": figures.sizes(pruned), "both": maps.both(fed), "valley": figures.valley(fed, curved),
    }  # fmt: skip


def each(drawn):
    for name, figure in drawn.items():
        yield from ((name, one) for one in (figure.drawings.values() if isinstance(figure, Panes) else [figure]))


def test_figures_say_what_they_show(drawn):
    for name, figure in drawn.items():
        assert figure.caption.endswith(".") and re.search(r"\d", figure.caption), name
        assert not re.search(r"\b(nan|inf|None)\b", figure.caption), name
    for name, drawing in each(drawn):
        assert drawing.alt.endswith(".") and not re.search(r"\b(nan|inf|None)\b", drawing.alt), name
        head, *rows = drawing.csv().splitlines()
        assert rows and not re.search(r"\b(nan|inf)\b", "".join(rows)), name
    assert "matching down to 26 % of the weights" in drawn["starts"].drawings["75"].alt
    assert drawn["starts"].default == "75" and list(drawn["starts"].drawings) == ["25", "75"]
    assert list(drawn["both"].drawings) == ["random", "hardest"] and drawn["noise"].default == "75"
    assert "k = 25, all examples 2.00 points" in drawn["cost"].alt
    assert drawn["cost"].caption.endswith("easiest 0.20 points, random 0.10 points, hardest 2.00 points.")
    assert "the random of 100, the hardest of 400 and the hardest of 1,600" in drawn["sizes"].caption
    assert "1.50 %; spent on fewer examples, random 5.50 %" in drawn["both"].caption
    assert "60 % with all examples; with 25 % of them, random 80 %" in drawn["valley"].caption


def test_the_map_holds_errors_in_percent(drawn):
    rows = [line.split(",") for line in drawn["both"].drawings["hardest"].csv().splitlines()]
    (value,) = [i for i, name in enumerate(rows[0]) if name.startswith("value")]
    field = [float(row[value]) for row in rows if "field" in row]
    assert len(field) == 3 * len(made.DENSITY)
    assert {round(error, 1) for error in field} == {1.5, 3.5, 5.5, 3.0, 5.0, 7.0, 9.0}


def test_words_of_figures_are_whole_and_apart(drawn):
    check_words = pytest.importorskip("test_figures", exc_type=ImportError).check_words
    for name, drawing in each(drawn):
        check_words(name, drawing.figure)
        check_words(f"{name} on a phone", narrow(drawing.figure))
