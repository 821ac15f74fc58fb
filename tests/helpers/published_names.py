"""File names as the publishers write them, by hand; see `tests/datasets/test_published_layouts.py`."""

FETUS = "Ultrasound Fetus Dataset/Ultrasound Fetus Dataset/Data/Data"
FILES = {
    "105us": ["105 US Images/007.png | - | = | - | 105 US Masks/007 G man.png"],
    "abdomenus": [
        "abdominal_US/abdominal_US/RUS/images/train/a.png | - | = | train | -",
        "abdominal_US/abdominal_US/RUS/images/test/b.png | - | = | test"
        " | abdominal_US/abdominal_US/RUS/annotations/test/b.png",
    ],
    "aul": [
        "Benign/image/7.jpg | Benign | Benign-7 | - | Benign/segmentation/outline/7.json"
        " Benign/segmentation/liver/7.json Benign/segmentation/mass/7.json",
        "Malignant/image/7.jpg | Malignant | Malignant-7 | - | Malignant/segmentation/outline/7.json",
        "Normal/image/7.jpg | Normal | Normal-7 | - | Normal/segmentation/liver/7.json",
    ],
    "covid-blues": [
        "lus_videos/patient_12_L1.mp4 | - | 12 | - | -",
        "lus_videos/patient_12_R3_2.mp4 | - | 12 | - | -",
        "lus_videos/patient_3_R3.mp4 | - | 3 | - | -",
    ],
    "uns": [
        "train/1_2.tif | - | 1 | train | train/1_2_mask.tif",
        "train/1_20.tif | - | 1 | train | train/1_20_mask.tif",
        "train/12_2.tif | - | 12 | train | train/12_2_mask.tif",
        # Nobody knows whose these are: one group, so that no split parts them.
        "test/1.tif | - | test | - | -",
        "test/2.tif | - | test | - | -",
    ],
    "brachial-plexus": [
        "data/Sonosite/videos/s001.mp4 | - | s001 | - | data/Sonosite/ac_masks/s001/s001_012.jpg",
        "data/Butterfly/videos/b001.mp4 | - | b001 | - | -",
    ],
    "bus-uc": [
        "BUS_UC/Benign/images/0319.png | Benign | = | - | BUS_UC/Benign/masks/0319.png",
        "BUS_UC/Malignant/images/0001.png | Malignant | = | - | BUS_UC/Malignant/masks/0001.png",
    ],
    "cactus": [
        "Images Dataset/A4C/1_D15_frame_600_v2.jpg | A4C | D15 | - | -",
        "Images Dataset/PL/10_D15_frame_7_v2.jpg | PL | D15 | - | -",
        "Images Dataset/A4C/9_001.png | A4C | = | - | -",
        "Images Dataset/Random/0_x.jpg | Random | = | - | -",
    ],
    "cardiacudc": [
        "cardiacUDC_dataset/Site_G_20/patient-1-4_image.nii.gz | - | Site_G_20/patient-1 | -"
        " | cardiacUDC_dataset/Site_G_20/patient-1-4_label.nii.gz",
        "cardiacUDC_dataset/Site_G_20/normal-1-4_image.nii.gz | - | Site_G_20/normal-1 | - | -",
        "cardiacUDC_dataset/Site_R_73/patient-1-4_image.nii.gz | - | Site_R_73/patient-1 | - | -",
    ],
    "ccaui": [
        "Common Carotid Artery Ultrasound Images/US images/2022VAS_slice_9.png | - | 2022VAS | -"
        " | Common Carotid Artery Ultrasound Images/Expert mask images/2022VAS_slice_9.png",
        "Common Carotid Artery Ultrasound Images/US images/2022VAS_slice_10.png | - | 2022VAS | -"
        " | Common Carotid Artery Ultrasound Images/Expert mask images/2022VAS_slice_10.png",
        "Common Carotid Artery Ultrasound Images/US images/other_name.png | - | other_name | - | -",
    ],
    "dfhi": [
        "Trans-thalamic/Trans-thalamic/Patient00168_Plane3_2_of_3.png | trans-thalamic | Patient00168 | -"
        " | Trans-thalamic/SegmentationClass/Patient00168_Plane3_2_of_3.png",
        "Trans-cerebellum/Trans-cerebellum/Patient00168_Plane3_1_of_3.png | trans-cerebellum | Patient00168"
        " | - | -",
        "Diverse Fetal Head Images/Orginal_train_images_to_959_661/010_2HC.png | diverse | HC18-010 | -"
        " | Diverse Fetal Head Images/SegmentationClass/010_2HC.png",
    ],
    "echocp": [
        "EchoCP_dataset/001_r_image.nii.gz | - | 001 | - | EchoCP_dataset/001_r_label.nii.gz",
        "EchoCP_dataset/001_v_image.nii.gz | - | 001 | - | EchoCP_dataset/001_v_label.nii.gz",
    ],
    "fallmud": [
        "FALLMUD/NeilCronin/images/a.tif | - | = | - | FALLMUD/NeilCronin/aponeurosis_masks/a.jpg"
        " FALLMUD/NeilCronin/fascicle_masks/a.tif",
        "FALLMUD/RyanCunningham/images/a.jpg | - | = | - | FALLMUD/RyanCunningham/fascicle_masks/a.jpg",
    ],
    "fass": ["IMAGES/P01_IMG1.png | - | 01 | - | -", "IMAGES/P01_IMG12.png | - | 01 | - | -"],
    "fast-u-net": [
        "Dataset/HC/image/010_HC.png | head | HC-010 | - | Dataset/HC/mask/010_HC_Annotation.png",
        "Dataset/HC/image/010_2HC.png | head | HC-010 | - | Dataset/HC/mask/010_2HC_Annotation.png",
        "Dataset/AC/image/010_HC.png | abdomen | = | - | Dataset/AC/mask/010_HC_Annotation.png",
    ],
    "fh-ps-aop": ["image_mha/00001.mha | - | = | - | label_mha/00001.mha"],
    "jnu-ifm": [
        "us_data/20190830T115515/image/20190830T115515_7.png | - | 20190830T115515 | -"
        " | us_data/20190830T115515/mask/20190830T115515_7_mask.png",
    ],
    "kidneyus": [
        "kidneyUS_images_25_june_2025/7_IM-0001-0059_anon.png | - | IM-0001-0059_anon | -"
        " | labels/reviewed_masks_1/capsule/7_IM-0001-0059_anon.png"
        " labels/reviewed_masks_1/regions/7_IM-0001-0059_anon.png",
        "kidneyUS_images_25_june_2025/31_IM-0001-0059_anon.png | - | IM-0001-0059_anon | - | -",
    ],
    "luss-phantom": [
        "data/train/images/a-b-F12.png | - | a-b | train | data/train/masks/a-b-F12.png",
        "data/test/images/c-F1.png | - | c | test | data/test/masks/c-F1.png",
    ],
    "microseg": [
        f"{side}/micro_ultrasound_scans/microUS_{side}_01.nii.gz | - | {side}-01 | {side}"
        f" | {side}/expert_annotations/expert_annotation_{side}_01.nii.gz"
        for side in ("train", "test")
    ],
    "pocus": [
        "data/pocus_videos/convex/Cov-Atlas-Day+1.gif | COVID-19 | Cov-Atlas-Day+1.gif | - | -",
        "data/pocus_videos/convex/pneu-gred-6.MOV | bacterial pneumonia | pneu-gred-6.MOV | - | -",
        "data/pocus_videos/linear/Vir_1.avi | viral pneumonia | Vir_1.avi | - | -",
        "data/pocus_images/convex/Reg_1.JPG | healthy | Reg_1.JPG | - | -",
        "data/pocus_videos/linear/label_uncertain/Vir_or_Pneu.mp4 | - | Vir_or_Pneu.mp4 | - | -",
    ],
    "porcine-spinal-cord": [
        "train/a.png | - | = | train | train/a.xml",
        "validation/b.png | - | = | val | -",
        "test/c.png | - | = | test | -",
    ],
    "psfhs": ["PSFHS/image_mha/00001.mha | - | = | - | PSFHS/label_mha/00001.mha"],
    "regpro": [
        "train/us_images/case000001.nii.gz | - | 000001 | train | train/us_labels/case000001.nii.gz",
        "val/us_images/case000065.nii.gz | - | 000065 | val | val/us_labels/case000065.nii.gz",
    ],
    "s1": [
        "S1/Data/TrainingDataSet/BreastTumourImages/a.jpg | - | = | train"
        " | S1/Data/TrainingDataSet/General-1-channel-Labels/a.jpg",
        "S1/Data/TestingDataSet/Test-General-1-BreastTumourImages/b.jpg | - | = | test"
        " | S1/Data/TestingDataSet/Test-General-1-channel-Labels/b.jpg",
    ],
    "segthy": [
        f"US_volunteer_dataset/ground_truth_data/US/001_P1_{k}_left_US.nii | - | 001 | - | -" for k in (1, 2)
    ],
    "stmus-nda": [
        "Polito-Radboud-DeepLearningUS/BB/Healthy/Images/a.png | healthy | = | -"
        " | Polito-Radboud-DeepLearningUS/BB/Healthy/Masks/a.png",
        "Polito-Radboud-DeepLearningUS/TA/Pathological/Images/a.png | pathological | = | -"
        " | Polito-Radboud-DeepLearningUS/TA/Pathological/Masks/a.png",
    ],
    "stu-hospital": ["Hospital/Test_Image_7.png | - | = | - | Hospital/mask_7.png"],
    "thyroid-dataset": [
        "Thyroid Dataset/tn3k/trainval-image/0001.jpg | - | = | train"
        " | Thyroid Dataset/tn3k/trainval-mask/0001.jpg",
        "Thyroid Dataset/tn3k/test-image/0001.jpg | - | = | test | Thyroid Dataset/tn3k/test-mask/0001.jpg",
        "Thyroid Dataset/tg3k/thyroid-image/0001.jpg | - | = | -"
        " | Thyroid Dataset/tg3k/thyroid-mask/0001.jpg",
        "Thyroid Dataset/DDTI dataset/DDTI/1_or_data/image/1.PNG | - | = | -"
        " | Thyroid Dataset/DDTI dataset/DDTI/1_or_data/mask/1.PNG",
    ],
    "tn3k": [
        "Thyroid Dataset/tn3k/trainval-image/0001.jpg | - | = | train"
        " | Thyroid Dataset/tn3k/trainval-mask/0001.jpg",
        "Thyroid Dataset/tn3k/test-image/0001.jpg | - | = | test | Thyroid Dataset/tn3k/test-mask/0001.jpg",
    ],
    "tg3k": [
        "Thyroid Dataset/tg3k/thyroid-image/0001.jpg | - | = | -"
        " | Thyroid Dataset/tg3k/thyroid-mask/0001.jpg",
    ],
    "ddti": ["1_or_data/image/1.PNG | - | = | - | 1_or_data/mask/1.PNG"],
    "feft": ["aorta/a.png | aorta | = | - | -", "V sign/b_mask.png | V sign | = | - | -"],
    "ultrasound-fetus": [
        f"{FETUS}/{folder}/{label}/{label}.png | {label} | = | {side} | -"
        for folder, side, label in (
            ("train", "train", "normal"),
            ("validation", "val", "benign"),
            ("test", "test", "malignant"),
        )
    ],
    "ubpd": ["UBPD/JPEGImages/a_1.jpg | - | = | - | UBPD/json_train/a_1.json"],
    "buid-qamebi": [
        f"{label}/7 {label} Image.bmp | {label.lower()} | = | - | {label}/7 {label} Mask.tif"
        for label in ("Benign", "Malignant")
    ],
    "butterfly-grandhack": [
        "training/1/carotid/a.png | carotid | 1 | train | -",
        "test/26/lungs/a.png | lungs | 26 | test | -",
    ],
}
"""Sets that are read by names alone. A group of `=` is the file: what shows the same joins it later."""

WITH_TABLES = {
    "acouslic-ai": (
        {
            "circumferences/fetal_abdominal_circumferences_per_sweep.csv": "uuid,subject_id,sweep_1_ac_mm\n"
            "ab-1,s1,\nab-2,s1,210.5\ncd-3,s2,\n"
        },
        [
            f"images/stacked_fetal_ultrasound/{uuid}.mha | - | {subject} | -"
            f" | masks/stacked_fetal_abdomen/{uuid}.mha"
            for uuid, subject in (("ab-1", "s1"), ("ab-2", "s1"), ("cd-3", "s2"))
        ],
    ),
    "breast-lesions-usg": (
        {},
        [
            "BrEaST-Lesions_USG-images_and_masks/case001.png | benign | 001 | -"
            " | BrEaST-Lesions_USG-images_and_masks/case001_tumor.png"
            " BrEaST-Lesions_USG-images_and_masks/case001_other1.png",
            "BrEaST-Lesions_USG-images_and_masks/case002.png | normal | 002 | - | -",
        ],
    ),
    "bus-uclm": (
        {
            "BUS-UCLM/INFO.csv": "Image;Label;Doppler;Marks\n"
            "ALWI_000.png;Normal;No;No\nALWI_001.png;Benign;No;Yes\nVITR_000.png;Malignant;No;No\n"
        },
        [
            f"BUS-UCLM/images/{stem}.png | {label} | {stem[:4]} | - | BUS-UCLM/masks/{stem}.png"
            for stem, label in (("ALWI_000", "Normal"), ("ALWI_001", "Benign"), ("VITR_000", "Malignant"))
        ],
    ),
    "camus": (
        {
            "database_split/subgroup_training.txt": "patient0001\n",
            "database_split/subgroup_validation.txt": "patient0002\n",
            "database_split/subgroup_testing.txt": "patient0003\n",
        },
        [
            f"database_nifti/patient000{n}/patient000{n}_{end}.nii.gz | - | 000{n} | {side}"
            f" | database_nifti/patient000{n}/patient000{n}_{end}_gt.nii.gz"
            for n, side in ((1, "train"), (2, "val"), (3, "test"))
            for end in ("2CH_ED", "4CH_ES", "2CH_half_sequence")
        ],
    ),
    "echonet-dynamic": (
        {"FileList.csv": "FileName,EF,ESV,EDV,Split\n0X1,6,2,5,TRAIN\n0X2.avi,5,3,6,VAL\n0X3,5,1,2,TEST\n"},
        [
            f"Videos/{clip}.avi | - | {clip} | {side} | -"
            for clip, side in (("0X1", "train"), ("0X2", "val"), ("0X3", "test"))
        ],
    ),
    "fetal-planes-db": (
        {
            "FETAL_PLANES_DB_data.csv": "Image_name;Patient_num;Plane;Brain_plane;"
            "Operator;US_Machine;Train \n"
            "Patient00001_Plane1_1_of_2;1;Other;Not A Brain;Op. 1;Aloka;1\n"
            "Patient00001_Plane3_2_of_2;1;Fetal brain;Trans-thalamic;Op. 1;Aloka;1\n"
            "Patient00002_Plane6_1_of_1;2;Maternal cervix;Not A Brain;Op. 1;Aloka;0\n"
        },
        [
            "Images/Patient00001_Plane1_1_of_2.png | Other | 1 | train | -",
            "Images/Patient00001_Plane3_2_of_2.png | Fetal brain | 1 | train | -",
            "Images/Patient00002_Plane6_1_of_1.png | Maternal cervix | 2 | test | -",
        ],
    ),
    "hc18": (
        {
            "training_set_pixel_size_and_HC.csv": "filename,pixel size(mm),head circumference (mm)\n"
            "010_HC.png,0.07,44.3\n010_2HC.png,0.08,50.1\n"
        },
        [
            "training_set/010_HC.png | - | train-010 | train | training_set/010_HC_Annotation.png",
            "training_set/010_2HC.png | - | train-010 | train | training_set/010_2HC_Annotation.png",
            "test_set/010_HC.png | - | test-010 | - | -",
        ],
    ),
    "mmotu-3d": (
        {"OTU_3d/train.txt": "1\n2\n", "OTU_3d/val.txt": "3\n"},
        [
            f"OTU_3d/images/{n}.JPG | - | = | {side} | OTU_3d/annotations/{n}_binary.PNG"
            for n, side in ((1, "train"), (2, "train"), (3, "test"))
        ],
    ),
    "gbcu": (
        {"train.txt": "im00001.jpg,0\nim00002.jpg,1\n", "test.txt": "im00003.jpg,2\n"},
        [
            "imgs/im00001.jpg | normal | = | train | -",
            "imgs/im00002.jpg | benign | = | train | -",
            "imgs/im00003.jpg | malignant | = | test | -",
        ],
    ),
    "pocus": (
        {
            "metadata.csv": "file,label,patient\npocus_videos/convex/Reg_a.mp4,regular,3\n"
            "pocus_videos/convex/Reg_b.mov,regular,3\npocus_images/linear/Cov_c.png,COVID-19,4\n"
        },
        [
            "pocus_videos/convex/Reg_a.mp4 | healthy | 3 | - | -",
            "pocus_videos/convex/Reg_b.mov | healthy | 3 | - | -",
            "pocus_images/linear/Cov_c.png | COVID-19 | 4 | - | -",
        ],
    ),
}
