// The Python module data_pipeline.native._kernels. Beside each function stands a plain Python reference that the tests
// compare it with; data_pipeline/native/__init__.py names them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "c4.hpp"
#include "fasttext.hpp"
#include "html_bind.hpp"
#include "lines.hpp"
#include "minhash.hpp"
#include "ngrams.hpp"
#include "text.hpp"
#include "tokens.hpp"

namespace py = pybind11;
using namespace llmill;

llmill::Classes* llmill::classes = nullptr;

PYBIND11_MODULE(_kernels, m) {
    if (!classes) classes = new Classes();

    m.attr("sources") = LLMILL_SOURCES;  // their digest, by setup.py
    m.def("set_marks", [](py::str punctuation, py::str terminal) {
        classes->add(punctuation.ptr(), PUNCTUATION);
        classes->add(terminal.ptr(), TERMINAL);
    });
    m.def("set_scripts", [](py::str marks, py::str alone) {
        classes->add(marks.ptr(), MARK);
        classes->add(alone.ptr(), ALONE);
    });

    py::class_<WordSet>(m, "WordSet").def(py::init<const std::vector<py::str>&>());

    py::class_<Tokens>(m, "Tokens")
        .def(py::init<py::str>())
        .def("__len__", &Tokens::size)
        .def("words", &Tokens::words)
        .def("plain_words", &Tokens::plain_words)
        .def("letter_words", &Tokens::letter_words)
        .def("distinct", &Tokens::distinct)
        .def("top_n_gram", &Tokens::top_n_gram)
        .def("duplicate_n_gram_characters", &Tokens::duplicate_n_gram_characters);

    m.def("line_marks", [](py::str text) {
        const LineMarks marks = line_marks(std::move(text));
        return py::make_tuple(marks.lines, marks.bullets, marks.ellipses);
    });
    m.def("line_shape", [](py::str text, size_t short_characters) {
        const LineShape s = line_shape(std::move(text), short_characters);
        return py::make_tuple(s.lines, s.terminal, s.short_lines, s.duplicate_characters, s.newlines);
    });
    m.def("white_space_words", &white_space_words);
    m.def("count_sentences", &count_sentences);

    py::class_<C4Rules>(m, "C4Rules")
        .def(py::init([](bool remove_citations, bool require_terminal_punctuation, bool drop_lorem_ipsum,
                         bool drop_curly_bracket, bool remove_policy_lines, int javascript, bool scripts,
                         size_t min_words_per_line, size_t max_word_length) {
                 return C4Rules{remove_citations,
                                require_terminal_punctuation,
                                drop_lorem_ipsum,
                                drop_curly_bracket,
                                remove_policy_lines,
                                static_cast<C4Rules::Javascript>(javascript),
                                scripts,
                                min_words_per_line,
                                max_word_length};
             }),
             py::kw_only(), py::arg("remove_citations"), py::arg("require_terminal_punctuation"),
             py::arg("drop_lorem_ipsum"), py::arg("drop_curly_bracket"), py::arg("remove_policy_lines"),
             py::arg("javascript"), py::arg("scripts"), py::arg("min_words_per_line"), py::arg("max_word_length"));
    // (reason to drop or None, lines, lorem_lines, curly_lines, sentences, text left or None)
    m.def("c4_clean", [](py::str text, const C4Rules& rules) -> py::tuple {
        const C4Result r = c4_clean(std::move(text), rules);
        const bool kept = r.verdict == C4Result::KEPT;
        const char* reason = r.verdict == C4Result::LOREM_IPSUM ? "lorem_ipsum" : "curly_bracket";
        return py::make_tuple(kept ? py::object(py::none()) : py::object(py::str(reason)), r.lines, r.lorem_lines,
                              r.curly_lines, r.sentences, kept ? r.text : py::object(py::none()));
    });

    py::class_<MinHash>(m, "MinHash")
        .def(py::init<const MinHash::Codes&, size_t, const MinHash::Codes&, const MinHash::Codes&>())
        .def("word_hashes", &MinHash::word_hashes)
        // noconvert: a converted copy would be filled in vain
        .def("signatures", &MinHash::signatures, py::arg("texts"), py::arg("out").noconvert());

    py::class_<NgramIndex>(m, "NgramIndex")
        .def(py::init<py::bytes, py::array_t<uint64_t>, py::array_t<uint32_t>>())
        .def("words", &NgramIndex::words)
        .def("find", &NgramIndex::find)
        .def("find_lines", &NgramIndex::find_lines);

    py::class_<FastText>(m, "FastText")
        .def(py::init<const std::string&>())
        .def_property_readonly("labels", &FastText::labels)
        .def(
            "predict",
            [](FastText& model, const py::str& text, size_t k) {
                Py_ssize_t size = 0;
                if (const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size))
                    return model.predict({utf8, static_cast<size_t>(size)}, k);
                PyErr_Clear();  // lone surrogates
                PyObject* replaced = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "replace");
                if (!replaced) throw py::error_already_set();
                return model.predict(std::string(py::reinterpret_steal<py::bytes>(replaced)), k);
            },
            py::arg("text"), py::arg("k") = 1);

    html::bind(m);
}
