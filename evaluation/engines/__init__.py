"""Where answers come from: a model in this process, a Megatron checkpoint on several ranks, vLLM, a server."""
