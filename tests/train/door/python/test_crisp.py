"""The Python package against the library of this build. Environment: CRISP_LIBRARY, CRISP_SAMPLE (a checkpoint without
a head), CRISP_PREDICT (the program; may be absent)."""

import gc
import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import crisp

SAMPLE = os.environ["CRISP_SAMPLE"]
TRAIN = [("a moving film", 1), ("the plot is dull", 0), ("what an ending", 1), ("two hours too long", 0)]
SETTINGS = {"max_steps": 6, "learning_rate": 5e-4, "sparsity": "0.5", "label_names": ["bad", "good"], "seed": 7}
TEXTS = ["a moving film", "", "the plot is dull , and the ending worse", "film film film"]


def tuned(**others):
    tuner = crisp.FineTuner(SAMPLE, TRAIN, **{**SETTINGS, **others})
    tuner.run()
    return tuner


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tuner = tuned()
        cls.model = cls.tuner.model()
        cls.directory = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.directory.name, "out")
        cls.tuner.save(cls.path)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def test_a_list_and_single_texts_have_one_answer(self):
        for answer, text in zip(self.model.predict(TEXTS), TEXTS):
            single = self.model.predict(text)
            self.assertEqual((answer.label, answer.label_name), (single.label, single.label_name))
            for a, b in zip(answer.scores, single.scores):
                self.assertAlmostEqual(a, b, delta=1e-6)
        self.assertEqual(self.model.predict([]), [])

    def test_saved_loaded_and_in_memory_models_are_one(self):
        files = self.tuner.save_to_memory()
        from_path = crisp.Model(self.path).predict(TEXTS)
        self.assertEqual(from_path, self.model.predict(TEXTS))
        self.assertEqual(crisp.Model(files).predict(TEXTS), from_path)
        writable = {name: bytearray(content) for name, content in files.items()}
        self.assertEqual(crisp.Model(writable, threads=1).predict(TEXTS), from_path)
        self.assertEqual(crisp.Model(self.path, threads=2).label_names, ["bad", "good"])

    def test_weights_are_mapped_or_copied(self):
        expected = self.model.predict(TEXTS)
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "copy")
            tuned().save(path)
            weights = os.path.join(path, "model.safetensors")
            with crisp.Model(path) as mapped, crisp.Model(path, map_weights=False) as copied:
                with open("/proc/self/maps") as maps:
                    self.assertEqual(sum(weights in line for line in maps), 1)
                self.assertEqual(mapped.predict(TEXTS), expected)
                mapped.close()
                os.truncate(weights, 100)
                self.assertEqual(copied.predict(TEXTS), expected)

    def test_options_of_sparse_attention_by_name(self):
        tuner = crisp.FineTuner(
            SAMPLE, TRAIN, max_steps=1, sparse_method="bigbird", bigbird=[3, 1, 1], sparse_train=False, keep="cls"
        )
        settings = json.loads(bytes(tuner.save_to_memory()["config.json"]))["crisp"]
        self.assertEqual((settings["bigbird"], settings["sparse_train"], settings["keep"]), ([3, 1, 1], False, ["cls"]))
        with self.assertRaisesRegex(crisp.UsageError, "^window belongs to sparse_method neighbour, not top-k$"):
            crisp.FineTuner(SAMPLE, TRAIN, window=2)
        spelt = {"sparsity": "0.5", "sparse-layers": [3], "sparse_layers": None}
        tuner = crisp.FineTuner(SAMPLE, TRAIN, max_steps=1, **spelt)
        self.assertEqual(json.loads(bytes(tuner.save_to_memory()["config.json"]))["crisp"]["sparse_layers"], [3])
        twice = "^sparse_layers is given twice, spelt with - and with _; give it once$"
        with self.assertRaisesRegex(crisp.UsageError, twice):
            crisp.FineTuner(SAMPLE, TRAIN, **{**spelt, "sparse_layers": [2]})

    def test_switches_and_lists_as_python_has_them(self):
        def written(**settings):
            tuner = crisp.FineTuner(SAMPLE, TRAIN, max_steps=1, sparsity="0.5", **settings)
            return json.loads(bytes(tuner.save_to_memory()["config.json"]))["crisp"]

        class Numpys:  # as numpy.bool_ is printed
            def __init__(self, value):
                self.value = value

            def __str__(self):
                return str(self.value)

        for on in (True, 1, "on", "true", "1", Numpys(True)):
            self.assertIs(written(sparsity_reverse=on)["sparsity_reverse"], True, on)
            self.assertIs(written(sparse_train=on)["sparse_train"], True, on)
        for off in (False, 0, "off", "false", "0", Numpys(False), None):
            self.assertNotIn("sparsity_reverse", written(sparsity_reverse=off), off)
            self.assertIs(written(sparse_eval=off)["sparse_eval"], off is None, off)
        for neither in (2, -1, 1.0, "yes", "", [], "True"):
            with self.assertRaisesRegex(crisp.UsageError, "^sparsity_reverse ", msg=repr(neither)):
                crisp.FineTuner(SAMPLE, TRAIN, sparsity_reverse=neither)
        for none in ([], (), "none", None):
            self.assertNotIn("keep", written(keep=none))
        self.assertEqual(written(keep=["cls", "sep"])["keep"], ["cls", "sep"])
        self.assertEqual(written(sparse_layers=range(2, 4))["sparse_layers"], [2, 3])
        for name in ("sparsity", "sparse_layers", "bigbird", "label_names"):
            with self.assertRaisesRegex(crisp.UsageError, f"^{name} is an empty list; None is the default$"):
                crisp.FineTuner(SAMPLE, TRAIN, **{name: []})
        tuner = crisp.FineTuner(SAMPLE, TRAIN, max_steps=1, label_names=None)  # the model's
        self.assertEqual(tuner.model().label_names, ["LABEL_0", "LABEL_1"])

    def test_crisp_predict_says_the_same(self):
        program = os.environ.get("CRISP_PREDICT")
        if not program:
            self.skipTest("no crisp-predict in this build")
        lines = subprocess.run(
            [program, "--model", self.path, "--format", "text"],
            input="\n".join(TEXTS[2:]) + "\n",
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for line, answer in zip(lines, self.model.predict(TEXTS[2:])):
            self.assertIn(answer.label_name, line)
            self.assertIn(f"{answer.score:.4f}", line)

    def test_tokens_know_their_bytes(self):
        text = "a Moving film!"
        tokens = self.model.tokenize(text)
        self.assertEqual([tokens[0].piece, tokens[-1].piece], ["[CLS]", "[SEP]"])
        self.assertEqual("".join(text.encode()[t.begin : t.end].decode() for t in tokens), "aMovingfilm!")

    def test_attention_and_hidden_states(self):
        n = len(self.model.tokenize(TEXTS[2]))
        weights = self.model.attention(TEXTS[2], 0)
        self.assertEqual(weights.shape[1:], (n, n))
        for head in weights.tolist():
            for row in head:
                self.assertAlmostEqual(sum(row), 1, delta=1e-5)
        self.assertEqual(self.model.hidden(TEXTS[2], 0).shape[0], n)
        with self.assertRaises(crisp.UsageError):
            self.model.attention(TEXTS[2], 99)

    def test_concurrent_predictions_have_the_same_bits(self):
        model = crisp.Model(self.path, threads=1)
        expected, wrong = model.predict(TEXTS), []

        def work():
            for _ in range(20):
                if model.predict(TEXTS) != expected:
                    wrong.append(1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])

    def test_nothing_is_printed(self):
        code = "import crisp, sys; crisp.Model(sys.argv[1]).predict('a film'); crisp.FineTuner(sys.argv[1], [('a', 1)])"
        done = subprocess.run([sys.executable, "-c", code, self.path], capture_output=True, check=True)
        self.assertEqual((done.stdout, done.stderr), (b"", b""))


class Gradients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = crisp.Model(tuned(sparsity="dense").save_to_memory(), precision="f64")

    def test_central_differences(self):
        text = TEXTS[2]
        for name in ("classifier.weight", "distilbert.transformer.layer.1.ffn.lin1.weight"):
            values = self.model.parameter(name)
            analytic = self.model.gradient(text, loss=0, of=name)
            self.assertEqual(analytic.shape, values.shape)
            kept = [v for row in values.tolist() for v in row]
            steepest = max(range(len(kept)), key=lambda i: abs(analytic[divmod(i, values.shape[1])]))
            losses = []
            for step in (1e-5, -1e-5):
                moved = list(kept)
                moved[steepest] += step
                self.model.set_parameter(name, moved)
                losses.append(self.model.value_and_gradient(text, loss=0)[0])
            self.model.set_parameter(name, values)  # as it was, from a view
            numeric = (losses[0] - losses[1]) / 2e-5
            self.assertAlmostEqual(analytic[divmod(steepest, values.shape[1])] / numeric, 1, delta=1e-7)
            self.assertEqual(self.model.parameter(name), values)

    def test_the_loss_is_that_of_the_logits(self):
        logits = self.model.predict(TEXTS[0]).logits
        value, tokens = self.model.value_and_gradient(TEXTS[0], loss=1)
        self.assertAlmostEqual(value, math.log(sum(math.exp(x) for x in logits)) - logits[1], delta=1e-12)
        self.assertEqual(tokens.shape[0], len(self.model.tokenize(TEXTS[0])))
        self.assertAlmostEqual(self.model.value_and_gradient(TEXTS[0], logit=1)[0], logits[1], delta=1e-12)

    def test_views_outlive_the_model(self):
        with crisp.Model(tuned().save_to_memory()) as model:
            view = model.gradient(TEXTS[0], loss=1, of="classifier.bias")
            before = view.tolist()
            part = view[1:]
        del view
        gc.collect()
        self.assertEqual(part.tolist(), before[1:])
        with self.assertRaisesRegex(crisp.UsageError, "closed"):
            model.predict("a film")

    def test_numpy_shares_the_memory(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        view = self.model.gradient(TEXTS[0], loss=1)
        array = numpy.asarray(view)
        self.assertEqual((array.shape, array.dtype), (view.shape, numpy.float64))
        array[0, 0] = 42
        self.assertEqual(view[0, 0], 42)
        self.model.set_parameter("classifier.bias", numpy.array([0.25, -0.5]))
        self.assertEqual(self.model.parameter("classifier.bias").tolist(), [0.25, -0.5])


class FineTuning(unittest.TestCase):
    def test_stopped_and_raised_runs_go_on_to_the_same_bits(self):
        whole = tuned().save_to_memory()
        tuner = crisp.FineTuner(SAMPLE, TRAIN, TRAIN, **SETTINGS)
        self.assertFalse(tuner.run(lambda step: step.step < 2))

        def fail(step):
            raise KeyError(step.step)

        with self.assertRaises(KeyError) as caught:
            tuner.run(fail)
        self.assertEqual(caught.exception.args, (3,))
        self.assertFalse(tuner.finished)
        evaluations = []
        self.assertTrue(tuner.run(on_evaluation=evaluations.append))
        self.assertTrue(tuner.finished)
        self.assertEqual([e.step for e in evaluations], [3, 4, 5, 6])
        self.assertEqual(evaluations[-1], tuner.evaluate(TRAIN))
        self.assertEqual(tuner.save_to_memory(), whole)

    def test_steps_one_by_one(self):
        tuner = crisp.FineTuner(SAMPLE, TRAIN, **SETTINGS)
        steps = []
        while not tuner.finished:
            steps.append(tuner.step())
        self.assertEqual([s.step for s in steps], [1, 2, 3, 4, 5, 6])
        self.assertLess(steps[-1].loss, steps[0].loss)
        with self.assertRaisesRegex(crisp.UsageError, "finished"):
            tuner.step()

    def test_a_new_head_only_where_it_is_asked_for(self):
        files = tuned().save_to_memory()
        for asked in (False, 0, "off", True, 1, "on"):
            tuner = crisp.FineTuner(files, TRAIN, new_head=asked, log=lambda line: None)
            kept = tuner.model().parameter("classifier.weight") == crisp.Model(files).parameter("classifier.weight")
            self.assertEqual(kept, asked in (False, 0, "off"))

    def test_lines_for_the_user(self):
        lines = []
        crisp.FineTuner(SAMPLE, TRAIN, log=lines.append)
        self.assertTrue(any("classifier" in line for line in lines), lines)


    def test_a_training_may_be_closed_trained_and_interrupted_in_its_own_callbacks(self):
        tuner = crisp.FineTuner(SAMPLE, TRAIN, TRAIN, **SETTINGS)
        with self.assertRaisesRegex(crisp.UsageError, "closed"):
            tuner.run(lambda step: tuner.close())
        tuner = crisp.FineTuner(SAMPLE, TRAIN, **SETTINGS)
        self.assertTrue(tuner.run(lambda step: step.step < 6 and tuner.step().step))  # six in all
        tuner = crisp.FineTuner(SAMPLE, TRAIN, **{**SETTINGS, "max_steps": 1000})
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with self.assertRaises(KeyboardInterrupt):
            tuner.run()
        timer.join()
        tuner.step()

    def test_what_a_log_function_raises_is_raised(self):
        def fail(line):
            raise KeyError(line)

        with self.assertRaises(KeyError):
            crisp.FineTuner(SAMPLE, TRAIN, log=fail)


class Refusals(unittest.TestCase):
    def test_each_has_its_class(self):
        with self.assertRaisesRegex(crisp.BadInput, "no such file"):
            crisp.Model("/no/such/model")
        with self.assertRaises(crisp.BadInput):
            crisp.Model({"model.safetensors": b"no weights"})
        with self.assertRaisesRegex(crisp.UsageError, "precision"):
            crisp.Model(SAMPLE, precision="f17")
        with self.assertRaisesRegex(crisp.UsageError, "learning_speed"):
            crisp.FineTuner(SAMPLE, TRAIN, learning_speed=1)
        with self.assertRaisesRegex(crisp.UsageError, "no example"):
            crisp.FineTuner(SAMPLE, [])
        with self.assertRaises(crisp.UsageError):
            crisp.FineTuner(SAMPLE, [("a film", 2**40)])
        model = tuned().model()
        with self.assertRaisesRegex(crisp.UsageError, "NUL"):
            model.predict("a\0film")
        with self.assertRaisesRegex(crisp.UsageError, "str"):
            model.predict([b"a film"])
        with self.assertRaisesRegex(crisp.UsageError, "loss"):
            model.gradient("a film")
        with self.assertRaises(crisp.UsageError):
            model.gradient("a film", loss=5)
        weight = model.parameter("classifier.weight")
        model.set_parameter("classifier.weight", weight.tolist())
        self.assertEqual(model.parameter("classifier.weight"), weight)
        for wrong in ([1.0], b"ab", {"a": 1}, 2j, "ab", ["a", "b"], [[1.0], [2.0]], None, [[1.0], [2.0, 3.0]]):
            with self.assertRaises(crisp.UsageError, msg=repr(wrong)):
                model.set_parameter("classifier.bias", wrong)
        transposed = [list(column) for column in zip(*weight.tolist())]
        with self.assertRaisesRegex(crisp.UsageError, "shape"):
            model.set_parameter("classifier.weight", transposed)
        for number in (2**32, 2**64, -(2**40), "0", None, 0.0):
            with self.assertRaises(crisp.UsageError, msg=repr(number)):
                model.attention("a film", number)
            with self.assertRaises(crisp.UsageError, msg=repr(number)):
                model.gradient("a film", loss=number, logit=None)
            with self.assertRaises(crisp.UsageError, msg=repr(number)):
                crisp.FineTuner(SAMPLE, [("a film", number)])
        for names in (["a,b", "c"], [" a", "b"], [""], ["", "b"], "ab", 5, True, [1, 2]):
            with self.assertRaises(crisp.UsageError, msg=repr(names)):
                crisp.FineTuner(SAMPLE, TRAIN, label_names=names)
        for source in (None, 5, ["a"]):
            with self.assertRaises(crisp.UsageError, msg=repr(source)):
                crisp.Model(source)
        for examples in (None, [("a", 1, 2)], ["ab c"], 5):
            with self.assertRaises(crisp.UsageError, msg=repr(examples)):
                crisp.FineTuner(SAMPLE, examples)
        with self.assertRaises(crisp.UsageError):
            pickle.dumps(model)
        with self.assertRaises(crisp.UsageError):
            crisp.FineTuner(SAMPLE, TRAIN, log=5)
        self.assertEqual(model.predict(text for text in TEXTS), model.predict(TEXTS))
        model.predict("\ud800")  # no UTF-8: passed over
        model.set_parameter("classifier.bias", [math.nan, 0])
        with self.assertRaises(crisp.NotFinite):
            model.predict("a film")
        for error in (crisp.UsageError, crisp.BadInput, crisp.NotFinite):
            self.assertTrue(issubclass(error, crisp.Error))


class Documentation(unittest.TestCase):
    def test_its_programs_run_as_they_stand_there(self):
        root = os.path.dirname(os.path.dirname(SAMPLE))
        for file in ("README.md", "train/door/README.md"):
            with open(os.path.join(root, file), encoding="utf-8") as text:
                programs = re.findall(r"^```python\n(.*?)^```$", text.read(), re.MULTILINE | re.DOTALL)
            self.assertTrue(programs, file)
            for program in programs:
                with tempfile.TemporaryDirectory() as folder:
                    os.symlink(SAMPLE, os.path.join(folder, "base"))
                    tuned().save(os.path.join(folder, "out"))
                    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
                    self.assertEqual((done.returncode, done.stderr), (0, ""), program)
                    self.assertIn("2", done.stdout)


if __name__ == "__main__":
    unittest.main()
