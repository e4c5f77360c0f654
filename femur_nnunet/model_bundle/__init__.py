"""Model bundles: one zip with all that inference needs, of which nothing is executed on loading."""

from femur_nnunet.model_bundle.bundle import ModelBundle, PackedNetwork, load_bundle
from femur_nnunet.model_bundle.bundle_error import BundleError
from femur_nnunet.model_bundle.manifest import Manifest
from femur_nnunet.model_bundle.plan_schema import InferenceFacts

__all__ = ["BundleError", "InferenceFacts", "Manifest", "ModelBundle", "PackedNetwork", "load_bundle"]
