"""Names of vLLM and of earlier versions, which exist only for programs that use them."""
