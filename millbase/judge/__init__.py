"""A language model as judge: which of two answers is better, or the order of several. No knowledge of any stage.

    from millbase.judge.config import JudgeConfig, ServerConfig
    from millbase.judge.server import ServerChat
    from millbase.judge.pairwise import Comparison, compare, summary

    chat = ServerChat(ServerConfig(url="http://localhost:8000/v1", model="judge"))
    verdicts = compare(chat, [Comparison("What is 2+2?", "4", "5")], JudgeConfig())

In reading order: `config`, `chat` (what a judge must be able to do, and its cache), `server` (an OpenAI-compatible
server), `prompts` and `parse` (what is asked, what counts as an answer), `pairwise`, `ranking`.
"""
