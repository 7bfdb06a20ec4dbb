"""RoBERTa and CamemBERT; the specs of XLM-RoBERTa."""
