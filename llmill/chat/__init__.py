"""Talk to a checkpoint in the terminal (``llmill chat CHECKPOINT``).

``conversation`` keeps the turns and what of them fits the context, ``generate`` streams an answer, ``terminal`` is
the loop a person sees.
"""

from llmill.chat.conversation import ChatOptions, Conversation
from llmill.chat.terminal import start

__all__ = ["ChatOptions", "Conversation", "start"]
