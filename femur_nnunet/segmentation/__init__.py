"""Segmenting the femora of one scan with a trained model: from a volume to a mask on the scan's own grid."""
